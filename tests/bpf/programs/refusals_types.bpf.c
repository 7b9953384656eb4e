// SPDX-License-Identifier: GPL-2.0
/* What a kernel may lack: a field, a function to attach to. As refusals.bpf.c. */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define bad(rule, section) SEC("?" section) int bad_##rule
#define good(rule, section) SEC("?" section) int good_##rule

char LICENSE[] SEC("license") = "GPL";

__u64 sink;

struct task_struct___absent {
	int no_such_member;
} __attribute__((preserve_access_index));

bad(absent_field, "fentry/wake_up_new_task")(__u64 *ctx)
{
	struct task_struct___absent *task = (void *)ctx[0];

	sink = task->no_such_member;
	return 0;
}

good(absent_field, "fentry/wake_up_new_task")(__u64 *ctx)
{
	struct task_struct___absent *task = (void *)ctx[0];

	if (bpf_core_field_exists(task->no_such_member))
		sink = task->no_such_member;
	return 0;
}

bad(absent_hook, "fentry/no_such_function")(__u64 *ctx)
{
	return 0;
}

good(absent_hook, "fentry/do_sys_openat2")(__u64 *ctx)
{
	return 0;
}
