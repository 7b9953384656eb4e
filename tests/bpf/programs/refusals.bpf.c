// SPDX-License-Identifier: GPL-2.0
/*
 * For each rule of the verifier (kobox/bpf/verifier_rules.py) a program that
 * breaks it, bad_RULE, and its mended twin, good_RULE. Each is loaded alone.
 */
#define BPF_NO_PRESERVE_ACCESS_INDEX /* no relocations: libbpf then needs no types of the kernel's */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define __naked __attribute__((naked))
#define noinline __attribute__((noinline))
#define keep(value) asm volatile("" : "+r"(value)) /* the compiler forgets what it knows of it */
#define bad(rule, section) SEC("?" section) int bad_##rule
#define good(rule, section) SEC("?" section) int good_##rule

char LICENSE[] SEC("license") = "GPL";

#define MAP(kind, title, ktype, vtype, size)       \
	struct {                                   \
		__uint(type, BPF_MAP_TYPE_##kind); \
		__uint(max_entries, size);         \
		__type(key, ktype);                \
		__type(value, vtype);              \
	} title SEC(".maps")

struct table {
	__u32 numbers[8];
};

struct locked {
	struct bpf_spin_lock lock;
	__u32 value;
};

MAP(ARRAY, table, __u32, struct table, 1);
MAP(ARRAY, locks, __u32, struct locked, 2);
MAP(HASH, hash, __u32, __u64, 8);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tails SEC(".maps");

const volatile __u32 constant = 3;
__u64 sink;

static struct table *table_of(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&table, &zero);
}

/* -- packets ----------------------------------------------------------- */

bad(packet_bounds, "xdp")(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;

	return data[12];
}

good(packet_bounds, "xdp")(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	return data + 13 > end ? 0 : data[12];
}

bad(stale_packet, "xdp")(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + 20 > end || bpf_xdp_adjust_head(ctx, 4))
		return 0;
	return data[12];
}

good(stale_packet, "xdp")(struct xdp_md *ctx)
{
	__u8 *data, *end;

	if (bpf_xdp_adjust_head(ctx, 4))
		return 0;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	return data + 20 > end ? 0 : data[12];
}

/* -- maps -------------------------------------------------------------- */

bad(null_check, "xdp")(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 *value = bpf_map_lookup_elem(&hash, &key);

	return *value;
}

good(null_check, "xdp")(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 *value = bpf_map_lookup_elem(&hash, &key);

	return value ? *value : 0;
}

bad(null_argument, "xdp")(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 *value = bpf_map_lookup_elem(&hash, &key);

	return bpf_map_update_elem(&hash, &key, value, 0);
}

good(null_argument, "xdp")(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 *value = bpf_map_lookup_elem(&hash, &key);

	return value ? bpf_map_update_elem(&hash, &key, value, 0) : 0;
}

bad(null_arithmetic, "xdp")(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct table *found = bpf_map_lookup_elem(&table, &zero);
	__u32 *second = &found->numbers[1];

	keep(second);
	return found ? *second : 0;
}

good(null_arithmetic, "xdp")(struct xdp_md *ctx)
{
	struct table *found = table_of();

	return found ? found->numbers[1] : 0;
}

bad(value_bounds, "xdp")(struct xdp_md *ctx)
{
	struct table *found = table_of();

	return found ? ((volatile __u32 *)found)[8] : 0;
}

good(value_bounds, "xdp")(struct xdp_md *ctx)
{
	struct table *found = table_of();

	return found ? ((volatile __u32 *)found)[7] : 0;
}

bad(value_unbounded, "xdp")(struct xdp_md *ctx)
{
	struct table *found = table_of();
	__u32 index = ctx->ingress_ifindex;

	return found ? found->numbers[index] : 0;
}

good(value_unbounded, "xdp")(struct xdp_md *ctx)
{
	struct table *found = table_of();
	__u32 index = ctx->ingress_ifindex;

	return found && index < 8 ? found->numbers[index] : 0;
}

bad(value_negative, "xdp")(struct xdp_md *ctx)
{
	struct table *found = table_of();
	int index = bpf_get_prandom_u32();

	keep(index);
	return found && index < 8 ? found->numbers[index] : 0;
}

good(value_negative, "xdp")(struct xdp_md *ctx)
{
	struct table *found = table_of();
	__u32 index = bpf_get_prandom_u32();

	keep(index);
	return found && index < 8 ? found->numbers[index] : 0;
}

bad(readonly_map, "xdp")(struct xdp_md *ctx)
{
	*(volatile __u32 *)&constant = 4;
	return 0;
}

good(readonly_map, "xdp")(struct xdp_md *ctx)
{
	sink = 4;
	return 0;
}

bad(map_kind, "xdp")(struct xdp_md *ctx)
{
	return bpf_ringbuf_output(&hash, &sink, sizeof(sink), 0);
}

good(map_kind, "xdp")(struct xdp_md *ctx)
{
	return bpf_ringbuf_output(&ring, &sink, sizeof(sink), 0);
}

bad(map_pointer, "xdp")(struct xdp_md *ctx)
{
	__u32 key = 0;

	return bpf_map_lookup_elem((void *)1234, &key) != NULL;
}

good(map_pointer, "xdp")(struct xdp_md *ctx)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&hash, &key) != NULL;
}

bad(argument_pointer, "xdp")(struct xdp_md *ctx)
{
	return bpf_map_lookup_elem(&hash, (void *)8) != NULL;
}

good(argument_pointer, "xdp")(struct xdp_md *ctx)
{
	__u32 key = 8;

	return bpf_map_lookup_elem(&hash, &key) != NULL;
}

/* -- the stack --------------------------------------------------------- */

SEC("?xdp") int __naked bad_stack_bounds(void)
{
	asm volatile("*(u64 *)(r10 - 520) = r1; r0 = 0; exit;");
}

SEC("?xdp") int __naked good_stack_bounds(void)
{
	asm volatile("*(u64 *)(r10 - 512) = r1; r0 = 0; exit;");
}

SEC("?xdp") int __naked bad_stack_alignment(void)
{
	asm volatile("*(u64 *)(r10 - 12) = r1; r0 = 0; exit;");
}

SEC("?xdp") int __naked good_stack_alignment(void)
{
	asm volatile("*(u64 *)(r10 - 16) = r1; r0 = 0; exit;");
}

bad(stack_argument, "kprobe")(void *ctx)
{
	char name[8];

	bpf_get_current_comm(name, 16);
	return name[0];
}

good(stack_argument, "kprobe")(void *ctx)
{
	char name[16];

	bpf_get_current_comm(name, sizeof(name));
	return name[0];
}

bad(stack_index, "xdp")(struct xdp_md *ctx)
{
	volatile char bytes[64] = {};
	__u32 index = bpf_get_prandom_u32();

	keep(index);
	bytes[index] = 1;
	return bytes[3];
}

good(stack_index, "xdp")(struct xdp_md *ctx)
{
	volatile char bytes[64] = {};
	__u32 index = bpf_get_prandom_u32();

	keep(index);
	bytes[index & 63] = 1;
	return bytes[3];
}

static noinline int deep(struct xdp_md *ctx, int size)
{
	volatile char bytes[400];

	bytes[size & 255] = 1;
	return bytes[0];
}

bad(stack_total, "xdp")(struct xdp_md *ctx)
{
	volatile char bytes[200];
	__u32 index = ctx->ingress_ifindex;

	bytes[index & 127] = 1;
	return deep(ctx, bytes[3]);
}

good(stack_total, "xdp")(struct xdp_md *ctx)
{
	return deep(ctx, 3);
}

#define LEVEL(n, inner)                                   \
	static noinline int level_##n(struct xdp_md *ctx) \
	{                                                 \
		int value = inner(ctx);                   \
							  \
		keep(value);                              \
		return value + n;                         \
	}
static noinline int level_0(struct xdp_md *ctx)
{
	int value = ctx->ingress_ifindex;

	keep(value);
	return value;
}
LEVEL(1, level_0)
LEVEL(2, level_1)
LEVEL(3, level_2)
LEVEL(4, level_3)
LEVEL(5, level_4)
LEVEL(6, level_5)
LEVEL(7, level_6)
LEVEL(8, level_7)

bad(call_depth, "xdp")(struct xdp_md *ctx)
{
	return level_8(ctx);
}

good(call_depth, "xdp")(struct xdp_md *ctx)
{
	return level_3(ctx);
}

/* -- registers --------------------------------------------------------- */

SEC("?xdp") int __naked bad_uninitialised(void)
{
	asm volatile("r0 = r3; exit;");
}

SEC("?xdp") int __naked good_uninitialised(void)
{
	asm volatile("r3 = 1; r0 = r3; exit;");
}

SEC("?xdp") int __naked bad_no_result(void)
{
	asm volatile("r2 = 1; exit;");
}

SEC("?xdp") int __naked good_no_result(void)
{
	asm volatile("r0 = 1; exit;");
}

SEC("?xdp") int __naked bad_frame_pointer(void)
{
	asm volatile("r10 = r1; r0 = 0; exit;");
}

SEC("?xdp") int __naked good_frame_pointer(void)
{
	asm volatile("r6 = r1; r0 = 0; exit;");
}

bad(scalar_pointer, "kprobe")(struct pt_regs *ctx)
{
	struct task_struct *task = (void *)PT_REGS_PARM1(ctx);

	return task->pid;
}

good(scalar_pointer, "kprobe")(struct pt_regs *ctx)
{
	struct task_struct *task = (void *)PT_REGS_PARM1(ctx);
	int pid = 0;

	bpf_probe_read_kernel(&pid, sizeof(pid), &task->pid);
	return pid;
}

SEC("?xdp") int __naked bad_pointer_bits(void)
{
	asm volatile("r2 = r10; r2 &= -8; r0 = 0; exit;");
}

SEC("?xdp") int __naked good_pointer_bits(void)
{
	asm volatile("r2 = r10; r2 += -8; r0 = 0; exit;");
}

SEC("?xdp") int __naked bad_pointer_sum(void)
{
	asm volatile("r2 = r10; r2 += r1; r0 = 0; exit;");
}

SEC("?xdp") int __naked good_pointer_sum(void)
{
	asm volatile("r2 = r10; r2 += -16; r0 = 0; exit;");
}

SEC("?xdp") int __naked bad_divide(void)
{
	asm volatile("r0 = 6; r0 /= 0; exit;");
}

SEC("?xdp") int __naked good_divide(void)
{
	asm volatile("r0 = 6; r0 /= 2; exit;");
}

SEC("?xdp") int __naked bad_shift(void)
{
	asm volatile("r0 = 1; r0 <<= 64; exit;");
}

SEC("?xdp") int __naked good_shift(void)
{
	asm volatile("r0 = 1; r0 <<= 63; exit;");
}

/* -- the context ------------------------------------------------------- */

bad(context_field, "xdp")(struct xdp_md *ctx)
{
	return ((volatile __u32 *)ctx)[32];
}

good(context_field, "xdp")(struct xdp_md *ctx)
{
	return ctx->rx_queue_index;
}

SEC("?xdp") int __naked bad_context_moved(void)
{
	asm volatile("r2 = 4; r1 += 4; r0 = *(u32 *)(r1 + 0); exit;");
}

SEC("?xdp") int __naked good_context_moved(void)
{
	asm volatile("r0 = *(u32 *)(r1 + 12); exit;");
}

SEC("?xdp") int __naked bad_context_atomic(void)
{
	asm volatile("r2 = 1; lock *(u32 *)(r1 + 12) += r2; r0 = 0; exit;");
}

SEC("?xdp") int __naked good_context_atomic(void)
{
	asm volatile("r2 = 1; *(u64 *)(r10 - 8) = r2; lock *(u64 *)(r10 - 8) += r2; r0 = 0; exit;");
}

bad(hook_argument, "fentry/do_sys_openat2")(__u64 *ctx)
{
	return ((volatile __u64 *)ctx)[6] != 0;
}

good(hook_argument, "fentry/do_sys_openat2")(__u64 *ctx)
{
	sink = ((volatile __u64 *)ctx)[0];
	return 0;
}

/* -- control flow ------------------------------------------------------ */

SEC("?xdp") int __naked bad_endless(void)
{
	asm volatile("r0 = 0; if r1 == 0 goto 2f; 1: r0 += 0; goto 1b; 2: exit;");
}

SEC("?xdp") int __naked good_endless(void)
{
	asm volatile("r0 = 0; 1: r0 += 1; if r0 < 8 goto 1b; exit;");
}

SEC("?xdp") int __naked bad_unreachable(void)
{
	asm volatile("r0 = 0; exit; r0 = 1; exit;");
}

SEC("?xdp") int __naked good_unreachable(void)
{
	asm volatile("r0 = 0; if r1 == 0 goto 1f; exit; 1: r0 = 1; exit;");
}

SEC("?xdp") int __naked bad_no_exit(void)
{
	asm volatile("r0 = 0; r0 += 1;");
}

SEC("?xdp") int __naked good_no_exit(void)
{
	asm volatile("r0 = 0; r0 += 1; exit;");
}

SEC("?xdp") int __naked bad_jump_range(void)
{
	asm volatile("r0 = 0; if r1 == 0 goto +100; exit;");
}

SEC("?xdp") int __naked good_jump_range(void)
{
	asm volatile("r0 = 0; if r1 == 0 goto +0; exit;");
}

/* -- helpers ----------------------------------------------------------- */

bad(helper_kind, "xdp")(struct xdp_md *ctx)
{
	char bytes[4];

	return bpf_skb_load_bytes(ctx, 0, bytes, sizeof(bytes));
}

good(helper_kind, "tc")(struct __sk_buff *ctx)
{
	char bytes[4];

	return bpf_skb_load_bytes(ctx, 0, bytes, sizeof(bytes));
}

bad(helper_sleeps, "fentry/do_sys_openat2")(__u64 *ctx)
{
	char bytes[4];

	return bpf_copy_from_user(bytes, sizeof(bytes), (void *)0x1000) & 0;
}

good(helper_sleeps, "lsm.s/file_open")(__u64 *ctx)
{
	char bytes[4];

	return bpf_copy_from_user(bytes, sizeof(bytes), (void *)0x1000) & 0;
}

bad(not_sleepable, "fentry.s/schedule")(__u64 *ctx)
{
	return 0;
}

good(not_sleepable, "fentry/schedule")(__u64 *ctx)
{
	return 0;
}

bad(size_unbounded, "kprobe")(struct pt_regs *ctx)
{
	char bytes[32];
	int size = PT_REGS_PARM1(ctx);

	keep(size);
	if (size > 32)
		return 0;
	return bpf_probe_read_kernel(bytes, size, (void *)PT_REGS_PARM2(ctx));
}

good(size_unbounded, "kprobe")(struct pt_regs *ctx)
{
	char bytes[32];
	__u32 size = PT_REGS_PARM1(ctx);

	keep(size);
	if (size > 32)
		return 0;
	return bpf_probe_read_kernel(bytes, size, (void *)PT_REGS_PARM2(ctx));
}

bad(size_negative, "kprobe")(struct pt_regs *ctx)
{
	struct table *found = table_of();
	__u64 size = PT_REGS_PARM1(ctx);

	keep(size);
	return found ? bpf_probe_read_kernel(found, size, (void *)PT_REGS_PARM2(ctx)) : 0;
}

good(size_negative, "kprobe")(struct pt_regs *ctx)
{
	struct table *found = table_of();
	__u64 size = PT_REGS_PARM1(ctx);

	keep(size);
	return found && size <= sizeof(*found) ? bpf_probe_read_kernel(found, size, (void *)PT_REGS_PARM2(ctx)) : 0;
}

/* -- references and locks ---------------------------------------------- */

bad(reference_leak, "xdp")(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, 8, 0);

	if (!record)
		return 0;
	*record = 1;
	return 1;
}

good(reference_leak, "xdp")(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, 8, 0);

	if (!record)
		return 0;
	*record = 1;
	bpf_ringbuf_submit(record, 0);
	return 1;
}

bad(reference_twice, "xdp")(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, 8, 0);

	if (!record)
		return 0;
	bpf_ringbuf_submit(record, 0);
	bpf_ringbuf_submit(record, 0);
	return 1;
}

good(reference_twice, "xdp")(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, 8, 0);

	if (record)
		bpf_ringbuf_submit(record, 0);
	return 1;
}

static struct locked *lock_of(__u32 key)
{
	return bpf_map_lookup_elem(&locks, &key);
}

bad(lock_kept, "xdp")(struct xdp_md *ctx)
{
	struct locked *one = lock_of(0);

	if (!one)
		return 0;
	bpf_spin_lock(&one->lock);
	one->value++;
	return 0;
}

good(lock_kept, "xdp")(struct xdp_md *ctx)
{
	struct locked *one = lock_of(0);

	if (!one)
		return 0;
	bpf_spin_lock(&one->lock);
	one->value++;
	bpf_spin_unlock(&one->lock);
	return 0;
}

bad(lock_call, "xdp")(struct xdp_md *ctx)
{
	struct locked *one = lock_of(0);

	if (!one)
		return 0;
	bpf_spin_lock(&one->lock);
	one->value = bpf_get_prandom_u32();
	bpf_spin_unlock(&one->lock);
	return 0;
}

good(lock_call, "xdp")(struct xdp_md *ctx)
{
	struct locked *one = lock_of(0);
	__u32 value = bpf_get_prandom_u32();

	if (!one)
		return 0;
	bpf_spin_lock(&one->lock);
	one->value = value;
	bpf_spin_unlock(&one->lock);
	return 0;
}

bad(lock_unheld, "xdp")(struct xdp_md *ctx)
{
	struct locked *one = lock_of(0);

	if (one)
		bpf_spin_unlock(&one->lock);
	return 0;
}

good(lock_unheld, "xdp")(struct xdp_md *ctx)
{
	struct locked *one = lock_of(0);

	if (!one)
		return 0;
	bpf_spin_lock(&one->lock);
	bpf_spin_unlock(&one->lock);
	return 0;
}

bad(lock_touched, "xdp")(struct xdp_md *ctx)
{
	struct locked *one = lock_of(0);

	return one ? *(volatile __u32 *)&one->lock : 0;
}

good(lock_touched, "xdp")(struct xdp_md *ctx)
{
	struct locked *one = lock_of(0);

	return one ? *(volatile __u32 *)&one->value : 0;
}

/* -- what is returned and written -------------------------------------- */

bad(result_range, "cgroup_skb/ingress")(struct __sk_buff *ctx)
{
	return 9;
}

good(result_range, "cgroup_skb/ingress")(struct __sk_buff *ctx)
{
	return 1;
}

bad(result_unknown, "fentry/do_sys_openat2")(__u64 *ctx)
{
	return bpf_get_prandom_u32();
}

good(result_unknown, "fentry/do_sys_openat2")(__u64 *ctx)
{
	sink = bpf_get_prandom_u32();
	return 0;
}

static long twice(__u32 index, void *context)
{
	return 2;
}

static long once(__u32 index, void *context)
{
	return 1;
}

bad(callback_result, "xdp")(struct xdp_md *ctx)
{
	return bpf_loop(4, twice, NULL, 0);
}

good(callback_result, "xdp")(struct xdp_md *ctx)
{
	return bpf_loop(4, once, NULL, 0);
}

bad(kernel_write, "fentry/wake_up_new_task")(__u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];

	task->prio = 1;
	return 0;
}

good(kernel_write, "fentry/wake_up_new_task")(__u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];

	sink = task->prio;
	return 0;
}

bad(not_modifiable, "fmod_ret/schedule")(__u64 *ctx)
{
	return 0;
}

good(not_modifiable, "fmod_ret/security_file_open")(__u64 *ctx)
{
	return 0;
}
