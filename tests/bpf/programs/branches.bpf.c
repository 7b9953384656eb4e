// SPDX-License-Identifier: GPL-2.0
/* Branches of programs: of the source, and those that the verifier and the JIT add. */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tails SEC(".maps");

const volatile int never;
int deep;

/* A branch on each side of which something is done: by the first byte of the packet. */
SEC("tc")
int two_ways(struct __sk_buff *skb)
{
	__u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (data + 1 > end)
		return 3;
	if (*data == 7) /* SEVEN */
		return 1;
	if (never)
		return 4;
	return 2;
}

/* Look-ups that the verifier inlines, with comparisons of their own. */
SEC("tc")
int look_ups(struct __sk_buff *skb)
{
	__u32 key = skb->mark;
	__u64 *found = bpf_map_lookup_elem(&seen, &key), *slot;

	if (!found) /* MISSING */
		return 1;
	key &= 7;
	slot = bpf_map_lookup_elem(&slots, &key);
	if (!slot) /* BEYOND */
		return 2;
	*slot += *found;
	return 0;
}

/* A jump that the JIT adds: a tail call's bounds. */
SEC("tc")
int tail_called(struct __sk_buff *skb)
{
	return skb->len > 20 ? 5 : 6; /* LENGTH */
}

SEC("tc")
int calls_tail(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &tails, 0);
	return 9;
}

/* Reads that may fault have a check of the address each. */
SEC("fentry/do_sys_openat2")
int BPF_PROG(reads, int fd, const char *name, struct open_how *how)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();

	if (task->real_parent->real_parent->tgid == 12345) /* PARENT */
		deep++;
	return 0;
}

/* A function of its own, and one that a helper calls. */
static __noinline int weigh(__u32 number)
{
	if (number % 3 == 0) /* THIRD */
		return 10;
	return 1;
}

static long step(__u32 n, int *sum)
{
	*sum += weigh(n);
	return n == 6; /* SIXTH */
}

SEC("tc")
int loops(struct __sk_buff *skb)
{
	int sum = 0;

	bpf_loop(skb->mark & 15, step, &sum, 0);
	return sum;
}

/* What only one input in a very great many reaches, unless the numbers that are compared with are tried. */
SEC("xdp")
int deep_inside(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *ether = data;
	struct iphdr *ip = (void *)(ether + 1);
	struct tcphdr *tcp = (void *)(ip + 1);

	if ((void *)(tcp + 1) > end)
		return XDP_ABORTED;
	if (ether->h_proto != bpf_htons(0x88B5))
		return XDP_PASS;
	if (tcp->dest != bpf_htons(4711))
		return XDP_PASS;
	if (tcp->seq == bpf_htonl(0xCAFE1234))
		return XDP_DROP;
	return XDP_TX;
}

char LICENSE[] SEC("license") = "GPL";
