// SPDX-License-Identifier: GPL-2.0
/* Instructions of each kind: arithmetic, comparisons, loads and stores of each size, atomics, calls of a function. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__u64 wide = 7, results[8];
__s32 narrow = -3;
__u16 half;
__u8 byte;

static __noinline __u64 mixed(__u64 a, __u64 b)
{
	__u64 sum = a + b, other = a * 3 - b;

	sum |= other << 3;
	sum ^= other >> 5;
	sum &= ~(a << (b & 31));
	sum += (__s64)a >> 2;
	if (b)
		sum += a / b + a % b;
	sum = -sum;
	return sum;
}

static __noinline __u32 narrowed(__u32 a, __u32 b)
{
	__u32 sum = a * b + (a >> 3) - (b << 2);

	sum ^= a | 0x55;
	sum += (__s32)a >> 4;
	if (a > b)
		sum /= 3;
	return -sum;
}

SEC("tc")
int arithmetic(struct __sk_buff *skb)
{
	__s64 length = skb->len;

	results[0] = mixed(wide, skb->mark);
	results[1] = narrowed(narrow, skb->priority);
	if (length > 100)
		results[2]++;
	if (length < 50 && (__s32)skb->mark < -5)
		results[3] = 9;
	if (skb->mark & 4)
		byte = 1;
	if (narrow >= 0 || wide <= 5)
		half = bpf_get_prandom_u32();
	results[4] = __builtin_bswap16(half);
	results[5] = __builtin_bswap64(wide);
	__sync_fetch_and_add(&results[6], 2);
	results[7] = __sync_fetch_and_or(&wide, 1) + __sync_val_compare_and_swap(&wide, 3, 4);
	return __sync_lock_test_and_set(&wide, 5) ? 0 : 2;
}

char LICENSE[] SEC("license") = "GPL";
