// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a file that lists the tasks of the system as you want them: the
 * kernel goes through them and calls this program for each.
 *
 * Pin it, and read it as a file:
 * `bpftool iter pin skeleton.bpf.o /sys/fs/bpf/skeleton`.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define PF_KTHREAD 0x00200000 /* vmlinux.h has types, and no macros */

/* Constants that are set before the program is loaded. */
const volatile bool kernel_threads = true;

SEC("iter/task")
int skeleton_tasks(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	bool kernel;

	if (!task) /* the last call */
		return 0;
	if (ctx->meta->seq_num == 0)
		BPF_SEQ_PRINTF(seq, "%8s %8s %s\n", "PID", "PARENT", "NAME");
	kernel = task->flags & PF_KTHREAD;
	if (kernel && !kernel_threads)
		return 0;
	BPF_SEQ_PRINTF(seq, "%8d %8d %s\n", task->pid,
		       task->real_parent->tgid, task->comm);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
