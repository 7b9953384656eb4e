"""Kinds of eBPF programs: what their sections say, what they are attached to, what their results mean.

Sections are libbpf's (Documentation/bpf/libbpf/program_types.rst), kinds the kernel's (enum bpf_prog_type).
"""

from __future__ import annotations

from enum import Enum

# enum bpf_prog_type (include/uapi/linux/bpf.h), in its order.
KIND_NAMES = [
    "unspec",
    "socket_filter",
    "kprobe",
    "sched_cls",
    "sched_act",
    "tracepoint",
    "xdp",
    "perf_event",
    "cgroup_skb",
    "cgroup_sock",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "sock_ops",
    "sk_skb",
    "cgroup_device",
    "sk_msg",
    "raw_tracepoint",
    "cgroup_sock_addr",
    "lwt_seg6local",
    "lirc_mode2",
    "sk_reuseport",
    "flow_dissector",
    "cgroup_sysctl",
    "raw_tracepoint_writable",
    "cgroup_sockopt",
    "tracing",
    "struct_ops",
    "ext",
    "lsm",
    "sk_lookup",
    "syscall",
    "netfilter",
]


def kind_name(number: int) -> str:
    """The name of an enum bpf_prog_type, or its number."""
    return KIND_NAMES[number] if 0 <= number < len(KIND_NAMES) else f"program type {number}"


class AttachTo(Enum):
    """What a program is attached to."""

    SECTION = "what its section names"  # libbpf finds it there: kprobe/do_exit, fentry/…, tp/…, lsm/…
    INTERFACE = "a network interface"
    TRAFFIC = "the traffic of a network interface"
    CGROUP = "a control group"
    NETWORK = "a network namespace"
    ITERATOR = "an iterator"
    STRUCT_OPS = "a structure of operations"
    FILTER = "a hook of netfilter"
    SOCKETS = "a map of sockets"
    SOCKET = "a socket"
    CLOCK = "a clock"
    NOTHING = "nothing: it runs when it is called"


# The first part of a section -> what is attached to; `SECTION` for all others.
_SECTIONS = {
    "xdp": AttachTo.INTERFACE,
    "xdp.frags": AttachTo.INTERFACE,
    "tc": AttachTo.TRAFFIC,
    "tcx": AttachTo.TRAFFIC,
    "classifier": AttachTo.TRAFFIC,
    "cgroup_skb": AttachTo.CGROUP,
    "cgroup": AttachTo.CGROUP,
    "sockops": AttachTo.CGROUP,
    "flow_dissector": AttachTo.NETWORK,
    "sk_lookup": AttachTo.NETWORK,
    "iter": AttachTo.ITERATOR,
    "iter.s": AttachTo.ITERATOR,
    "struct_ops": AttachTo.STRUCT_OPS,
    "struct_ops.s": AttachTo.STRUCT_OPS,
    "netfilter": AttachTo.FILTER,
    "sk_skb": AttachTo.SOCKETS,
    "sk_msg": AttachTo.SOCKETS,
    "perf_event": AttachTo.CLOCK,
    "syscall": AttachTo.NOTHING,
    "lsm_cgroup": AttachTo.CGROUP,
    "socket": AttachTo.SOCKET,
    "sk_reuseport": AttachTo.SOCKET,
    "action": AttachTo.NOTHING,
    "lwt_in": AttachTo.NOTHING,
    "lwt_out": AttachTo.NOTHING,
    "lwt_xmit": AttachTo.NOTHING,
    "lwt_seg6local": AttachTo.NOTHING,
    "lirc_mode2": AttachTo.NOTHING,
    "freplace": AttachTo.SECTION,
}

_RESULTS = {
    "xdp": {0: "XDP_ABORTED", 1: "XDP_DROP", 2: "XDP_PASS", 3: "XDP_TX", 4: "XDP_REDIRECT"},
    "sched_cls": {
        -1: "TC_ACT_UNSPEC",
        0: "TC_ACT_OK",
        1: "TC_ACT_RECLASSIFY",
        2: "TC_ACT_SHOT",
        3: "TC_ACT_PIPE",
        4: "TC_ACT_STOLEN",
        5: "TC_ACT_QUEUED",
        6: "TC_ACT_REPEAT",
        7: "TC_ACT_REDIRECT",
    },
    "netfilter": {0: "NF_DROP", 1: "NF_ACCEPT"},
    "cgroup_skb": {0: "drop", 1: "pass"},
    "sk_msg": {0: "SK_DROP", 1: "SK_PASS"},
    "sk_skb": {0: "SK_DROP", 1: "SK_PASS"},
}
_RESULTS["sched_act"] = _RESULTS["sched_cls"]


def attach_to(section: str) -> AttachTo:
    """What a program of this section is attached to."""
    return _SECTIONS.get(section.lstrip("?").split("/", 1)[0], AttachTo.SECTION)


def result_name(kind: str, value: int) -> str:
    """What a result of a program of this kind is called, or "" where it has no name."""
    signed = value - (1 << 32) if value >> 31 else value
    return _RESULTS.get(kind, {}).get(signed, "")
