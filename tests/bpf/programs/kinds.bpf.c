// SPDX-License-Identifier: GPL-2.0
/* A map of each common kind, variables of each section, and programs that use them. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

enum color { RED, GREEN = 7 };

struct point {
	int x;
	__u8 low : 3, high : 5;
	char name[8];
	__u8 raw[4];
	enum color color;
	union {
		__u64 whole;
		__u32 half[2];
	};
};

struct event {
	__u32 number;
	char comm[16];
};

#define MAP(kind, title, ktype, vtype, size)                 \
	struct {                                             \
		__uint(type, BPF_MAP_TYPE_##kind);           \
		__uint(max_entries, size);                   \
		__type(key, ktype);                          \
		__type(value, vtype);                        \
	} title SEC(".maps")

MAP(HASH, points, __u32, struct point, 8);
MAP(ARRAY, numbers, __u32, __s64, 4);
MAP(PERCPU_ARRAY, per_cpu, __u32, __u32, 2);
MAP(LRU_HASH, recent, struct point, __u32, 4);

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 2);
	__type(value, __u32);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 8);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct { __u32 length; __u8 address[4]; });
	__type(value, __u32);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} tails SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf SEC(".maps");

const volatile int limit = 3;
int counter = 5;
struct point last;
struct event shown;

SEC("tc")
int tail(struct __sk_buff *skb)
{
	return 42;
}

SEC("tc")
int caller(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &tails, 0);
	return limit;
}

SEC("raw_tp/sys_enter")
int on_call(void *ctx)
{
	struct event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0), copy = {};

	counter++;
	copy.number = counter;
	bpf_get_current_comm(copy.comm, sizeof(copy.comm));
	bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &copy, sizeof(copy));
	if (!event)
		return 0;
	*event = copy;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("iter/bpf_map")
int list_maps(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;

	if (map)
		BPF_SEQ_PRINTF(ctx->meta->seq, "%u %s\n", map->id, map->name);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
