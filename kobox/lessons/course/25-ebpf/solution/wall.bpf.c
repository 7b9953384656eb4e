// SPDX-License-Identifier: GPL-2.0
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

int dropped;

SEC("xdp")
int wall(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *ether = data;
	struct iphdr *ip = (void *)(ether + 1);
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > data_end)
		return XDP_PASS;
	if (ether->h_proto != bpf_htons(0x0800) || ip->protocol != 17 || udp->dest != bpf_htons(53))
		return XDP_PASS;
	dropped++;
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
