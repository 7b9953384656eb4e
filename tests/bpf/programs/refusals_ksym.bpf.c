// SPDX-License-Identifier: GPL-2.0
/* A function of the kernel that is not there, which libbpf looks for. As refusals.bpf.c. */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define bad(rule, section) SEC("?" section) int bad_##rule
#define good(rule, section) SEC("?" section) int good_##rule

char LICENSE[] SEC("license") = "GPL";

__u64 sink;

extern void no_such_function(void) __ksym;

bad(absent_function, "xdp")(struct xdp_md *ctx)
{
	no_such_function();
	return 0;
}
