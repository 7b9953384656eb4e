// SPDX-License-Identifier: GPL-2.0
/* A function of the kernel that may be absent, and a licence that is not the GPL's. As refusals.bpf.c. */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define bad(rule, section) SEC("?" section) int bad_##rule
#define good(rule, section) SEC("?" section) int good_##rule

char LICENSE[] SEC("license") = "Proprietary";

__u64 sink;

extern void no_such_function(void) __ksym __weak;

good(absent_function, "xdp")(struct xdp_md *ctx)
{
	if (no_such_function)
		no_such_function();
	return 0;
}

bad(license, "kprobe")(struct pt_regs *ctx)
{
	char text[8] = "hello";

	return bpf_trace_printk(text, sizeof(text));
}

good(license, "kprobe")(struct pt_regs *ctx)
{
	return bpf_get_current_pid_tgid() != 0;
}
