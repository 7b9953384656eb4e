// SPDX-License-Identifier: GPL-2.0
/* Maps of the kinds that kinds.bpf.c does not have, and programs that fill them. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define MAP(kind, title, ktype, vtype, size)                 \
	struct {                                             \
		__uint(type, BPF_MAP_TYPE_##kind);           \
		__uint(max_entries, size);                   \
		__type(key, ktype);                          \
		__type(value, vtype);                        \
	} title SEC(".maps")

struct pair {
	__u32 left;
	__u32 right;
};

MAP(PERCPU_HASH, per_cpu_hash, __u32, struct pair, 4);
MAP(LRU_PERCPU_HASH, recent_per_cpu, __u32, __u64, 4);
MAP(SOCKMAP, sockets, __u32, __u64, 2);
MAP(SOCKHASH, sockets_by_name, __u32, __u64, 2);
MAP(DEVMAP, devices, __u32, __u32, 4);
MAP(DEVMAP_HASH, devices_by_name, __u32, __u32, 4);
MAP(CPUMAP, cpus, __u32, __u32, 1);
MAP(CGROUP_ARRAY, groups, __u32, __u32, 1);

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 4);
	__type(value, struct pair);
} stack SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 64);
	__type(value, __u32);
} bloom SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(key_size, 4);
	__uint(value_size, 127 * 8);
} stacks SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} first SEC(".maps"), second SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} table SEC(".maps") = { .values = { &first } };

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} by_name SEC(".maps");

#define STORAGE(kind, title)                                 \
	struct {                                             \
		__uint(type, BPF_MAP_TYPE_##kind##_STORAGE); \
		__uint(map_flags, BPF_F_NO_PREALLOC);        \
		__type(key, int);                            \
		__type(value, struct pair);                  \
	} title SEC(".maps")

STORAGE(TASK, of_tasks);
STORAGE(INODE, of_inodes);
STORAGE(SK, of_sockets);

int stack_id;

SEC("raw_tp/sys_enter")
int on_call(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pair *pair = bpf_task_storage_get(&of_tasks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (pair)
		pair->left++;
	stack_id = bpf_get_stackid(ctx, &stacks, 0);
	return 0;
}

SEC("tc")
int looks(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct pair top = { 1, 2 };
	void *inner = bpf_map_lookup_elem(&table, &zero);
	__u32 *found = inner ? bpf_map_lookup_elem(inner, &zero) : NULL;

	bpf_map_push_elem(&stack, &top, 0);
	return found ? *found : 99;
}

char LICENSE[] SEC("license") = "GPL";
