// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: tells of files that could not be opened: who tried, which name, and
 * the error. A probe at a function's entry keeps the name, one at its return
 * sees the result.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct skeleton_event {
	__u32 pid;
	__s32 error;
	char comm[16];
	char name[64];
};

/* The name of each call under way, by the task that makes it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64); /* an address of the task's memory */
} names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

/* Keeps the structure in the object's BTF, for those who read the records. */
const struct skeleton_event *skeleton_unused __attribute__((unused));

SEC("kprobe/do_sys_openat2")
int BPF_KPROBE(skeleton_enter, int dfd, const char *filename)
{
	__u64 task = bpf_get_current_pid_tgid(), address = (__u64)filename;

	bpf_map_update_elem(&names, &task, &address, BPF_ANY);
	return 0;
}

/*
 * The result is an int: newer kernels return one, and then only the lower half
 * of the register counts.
 */
SEC("kretprobe/do_sys_openat2")
int BPF_KRETPROBE(skeleton_return, int result)
{
	__u64 task = bpf_get_current_pid_tgid(), *address, name;
	struct skeleton_event *event;

	address = bpf_map_lookup_elem(&names, &task);
	if (!address)
		return 0;
	name = *address;
	bpf_map_delete_elem(&names, &task);
	if (result >= 0)
		return 0;

	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	event->pid = task >> 32;
	event->error = result;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_probe_read_user_str(event->name, sizeof(event->name), (void *)name);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
