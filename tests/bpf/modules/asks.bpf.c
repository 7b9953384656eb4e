// SPDX-License-Identifier: GPL-2.0
/* Calls the functions that offers.ko offers, and looks at its tracepoint. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

extern int offers_twice(int number) __ksym;
extern int offers_less(int number) __ksym;

int traced, raw;

SEC("tc")
int asks(struct __sk_buff *skb)
{
	return offers_less(offers_twice(skb->len));
}

SEC("tp_btf/offers_asked")
int BPF_PROG(on_asked, int number)
{
	traced = number;
	return 0;
}

SEC("raw_tp/offers_asked")
int on_asked_raw(struct bpf_raw_tracepoint_args *ctx)
{
	raw = ctx->args[0];
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
