// SPDX-License-Identifier: GPL-2.0
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

int dropped;

SEC("xdp")
int wall(struct xdp_md *ctx)
{
	/* Drop UDP to port 53, and count it. */
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
