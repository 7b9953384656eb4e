// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: looks at packets as soon as a card has received them, counts them
 * by protocol, and drops UDP to one port.
 *
 * Attach it to an interface: `kobox run skeleton.bpf.o --attach eth0`, or
 * `ip link set dev eth0 xdp obj skeleton.bpf.o`.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_P_IP 0x0800 /* vmlinux.h has types, and no macros */

/* Constants that are set before the program is loaded. */
const volatile __u16 port = 9999;

/* One counter a CPU, so that none has to wait for another. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 256);
	__type(key, __u8); /* the protocol of IPv4 */
	__type(value, __u64);
} packets SEC(".maps");

static void count(__u8 protocol)
{
	__u64 one = 1, *seen = bpf_map_lookup_elem(&packets, &protocol);

	/* The verifier asks for this test: a lookup may find nothing. */
	if (seen)
		(*seen)++;
	else
		bpf_map_update_elem(&packets, &protocol, &one, BPF_NOEXIST);
}

SEC("xdp")
int skeleton_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ether = data;
	struct iphdr *ip = data + sizeof(*ether);
	struct udphdr *udp;

	/* Nothing is read that was not shown to be there. */
	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	if (ether->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	count(ip->protocol);
	if (ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	udp = (void *)ip + ip->ihl * 4;
	if ((void *)(udp + 1) > end)
		return XDP_PASS;
	return udp->dest == bpf_htons(port) ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
