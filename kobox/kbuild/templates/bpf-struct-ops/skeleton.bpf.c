// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a congestion control of TCP in eBPF: functions that the kernel
 * calls as if a module had registered them (struct tcp_congestion_ops).
 *
 * `sysctl net.ipv4.tcp_congestion_control=skeleton` makes it the default.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

int begun, acknowledged;

static struct tcp_sock *tcp_sk(struct sock *sk)
{
	return (struct tcp_sock *)sk;
}

SEC("struct_ops")
void BPF_PROG(skeleton_init, struct sock *sk)
{
	__sync_fetch_and_add(&begun, 1);
}

/* The window after a loss: half of what it was, two segments at least. */
SEC("struct_ops")
__u32 BPF_PROG(skeleton_ssthresh, struct sock *sk)
{
	__u32 half = tcp_sk(sk)->snd_cwnd / 2;

	return half > 2 ? half : 2;
}

/* What came through lets the window grow by as much. */
SEC("struct_ops")
void BPF_PROG(skeleton_cong_avoid, struct sock *sk, __u32 ack, __u32 acked)
{
	struct tcp_sock *tp = tcp_sk(sk);

	__sync_fetch_and_add(&acknowledged, acked);
	if (tp->snd_cwnd + acked <= tp->snd_cwnd_clamp)
		tp->snd_cwnd += acked;
}

SEC("struct_ops")
__u32 BPF_PROG(skeleton_undo_cwnd, struct sock *sk)
{
	return tcp_sk(sk)->snd_cwnd;
}

SEC(".struct_ops")
struct tcp_congestion_ops skeleton_ops = {
	.init = (void *)skeleton_init,
	.ssthresh = (void *)skeleton_ssthresh,
	.cong_avoid = (void *)skeleton_cong_avoid,
	.undo_cwnd = (void *)skeleton_undo_cwnd,
	.name = "skeleton", /* 15 characters at most */
};

char LICENSE[] SEC("license") = "GPL";
