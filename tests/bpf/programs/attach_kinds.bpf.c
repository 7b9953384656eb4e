// SPDX-License-Identifier: GPL-2.0
/* A program of each kind, which does nothing: tests/bpf/attach_kinds.py attaches each and sees whether it runs. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define PROGRAM(section, name, type, result)                 \
	SEC(section)                                         \
	int name(type *ctx)                                  \
	{                                                    \
		return result;                               \
	}

__noinline int replaced(struct __sk_buff *ctx)
{
	volatile int result = 0;

	return result;
}

/* -- of the network ---------------------------------------------------------------------------------------------- */

PROGRAM("xdp", of_xdp, struct xdp_md, 2 /* XDP_PASS */)
PROGRAM("xdp.frags", of_xdp_frags, struct xdp_md, 2)
PROGRAM("tc", of_tc, struct __sk_buff, 0 /* TC_ACT_OK */)
PROGRAM("tc/egress", of_tc_egress, struct __sk_buff, 0)
PROGRAM("tcx/ingress", of_tcx_ingress, struct __sk_buff, 0)
PROGRAM("tcx/egress", of_tcx_egress, struct __sk_buff, 0)
PROGRAM("action", of_action, struct __sk_buff, 0)
PROGRAM("socket", of_socket, struct __sk_buff, 65535)
PROGRAM("sk_reuseport", of_sk_reuseport, struct sk_reuseport_md, 1 /* SK_PASS */)
PROGRAM("flow_dissector", of_flow_dissector, struct __sk_buff, 0 /* BPF_OK */)
PROGRAM("sk_lookup", of_sk_lookup, struct bpf_sk_lookup, 1)
PROGRAM("netfilter", of_netfilter, void, 1 /* NF_ACCEPT */)
PROGRAM("lwt_in", of_lwt_in, struct __sk_buff, 0)
PROGRAM("lwt_out", of_lwt_out, struct __sk_buff, 0)
PROGRAM("lwt_xmit", of_lwt_xmit, struct __sk_buff, 0)
PROGRAM("lwt_seg6local", of_lwt_seg6local, struct __sk_buff, 0)

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");

SEC("sk_skb/stream_parser")
int of_stream_parser(struct __sk_buff *skb)
{
	return skb->len;
}

PROGRAM("sk_skb/stream_verdict", of_stream_verdict, struct __sk_buff, 1)
PROGRAM("sk_skb/verdict", of_skb_verdict, struct __sk_buff, 1)
PROGRAM("sk_msg", of_sk_msg, struct sk_msg_md, 1)

SEC("tc")
int of_tc_replaced(struct __sk_buff *ctx)
{
	return replaced(ctx);
}

/* -- of a control group ------------------------------------------------------------------------------------------ */

PROGRAM("cgroup_skb/ingress", of_cgroup_ingress, struct __sk_buff, 1)
PROGRAM("cgroup_skb/egress", of_cgroup_egress, struct __sk_buff, 1)
PROGRAM("cgroup/sock_create", of_sock_create, struct bpf_sock, 1)
PROGRAM("cgroup/sock_release", of_sock_release, struct bpf_sock, 1)
PROGRAM("cgroup/post_bind4", of_post_bind4, struct bpf_sock, 1)
PROGRAM("cgroup/bind4", of_bind4, struct bpf_sock_addr, 1)
PROGRAM("cgroup/connect4", of_connect4, struct bpf_sock_addr, 1)
PROGRAM("cgroup/sendmsg4", of_sendmsg4, struct bpf_sock_addr, 1)
PROGRAM("cgroup/recvmsg4", of_recvmsg4, struct bpf_sock_addr, 1)
PROGRAM("cgroup/getsockname4", of_getsockname4, struct bpf_sock_addr, 1)
PROGRAM("cgroup/getpeername4", of_getpeername4, struct bpf_sock_addr, 1)
PROGRAM("cgroup/getsockopt", of_getsockopt, struct bpf_sockopt, 1)
PROGRAM("cgroup/setsockopt", of_setsockopt, struct bpf_sockopt, 1)
PROGRAM("cgroup/sysctl", of_sysctl, struct bpf_sysctl, 1)
PROGRAM("cgroup/dev", of_device, struct bpf_cgroup_dev_ctx, 1)
PROGRAM("sockops", of_sockops, struct bpf_sock_ops, 1)

/* -- of the kernel's code ---------------------------------------------------------------------------------------- */

PROGRAM("kprobe/do_sys_openat2", of_kprobe, struct pt_regs, 0)
PROGRAM("kretprobe/do_sys_openat2", of_kretprobe, struct pt_regs, 0)
PROGRAM("kprobe.multi/do_sys_open*", of_kprobe_multi, struct pt_regs, 0)
PROGRAM("kretprobe.multi/do_sys_open*", of_kretprobe_multi, struct pt_regs, 0)
PROGRAM("ksyscall/openat", of_ksyscall, struct pt_regs, 0)
PROGRAM("kretsyscall/openat", of_kretsyscall, struct pt_regs, 0)
PROGRAM("uprobe", of_uprobe, struct pt_regs, 0)
PROGRAM("uretprobe", of_uretprobe, struct pt_regs, 0)
PROGRAM("tp/syscalls/sys_enter_openat", of_tracepoint, void, 0)
PROGRAM("raw_tp/sys_enter", of_raw_tp, struct bpf_raw_tracepoint_args, 0)
PROGRAM("tp_btf/sys_enter", of_tp_btf, void, 0)
PROGRAM("fentry/do_sys_openat2", of_fentry, void, 0)
PROGRAM("fexit/do_sys_openat2", of_fexit, void, 0)
PROGRAM("fmod_ret/security_file_open", of_fmod_ret, void, 0)
PROGRAM("lsm/file_open", of_lsm, void, 0)
PROGRAM("lsm.s/file_open", of_lsm_sleepable, void, 0)
PROGRAM("lsm_cgroup/socket_create", of_lsm_cgroup, void, 1)
PROGRAM("perf_event", of_perf_event, struct bpf_perf_event_data, 0)
PROGRAM("syscall", of_syscall, void, 0)

/* -- iterators ---------------------------------------------------------------------------------------------------- */

PROGRAM("iter/task", of_iter_task, struct bpf_iter__task, 0)
PROGRAM("iter/task_file", of_iter_task_file, struct bpf_iter__task_file, 0)
PROGRAM("iter/bpf_map", of_iter_map, struct bpf_iter__bpf_map, 0)
PROGRAM("iter/bpf_map_elem", of_iter_map_elem, struct bpf_iter__bpf_map_elem, 0)
PROGRAM("iter/bpf_prog", of_iter_prog, struct bpf_iter__bpf_prog, 0)
PROGRAM("iter/tcp", of_iter_tcp, struct bpf_iter__tcp, 0)
PROGRAM("iter/udp", of_iter_udp, struct bpf_iter__udp, 0)
PROGRAM("iter/cgroup", of_iter_cgroup, struct bpf_iter__cgroup, 0)

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} entries SEC(".maps");

/* -- instead of functions ----------------------------------------------------------------------------------------- */

SEC("freplace")
int of_freplace(struct __sk_buff *ctx)
{
	return 7;
}

char LICENSE[] SEC("license") = "GPL";
