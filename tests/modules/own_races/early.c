// SPDX-License-Identifier: GPL-2.0
/* The thread that init starts uses what init has not made ready yet. */
#include "own.h"

struct board { unsigned long ticks; };
static struct board *board;
static struct task_struct *thread;
static int tick(void *unused)
{
	while (!kthread_should_stop()) {
		board->ticks++; /* the race */
		msleep(5);
	}
	return 0;
}
static int __init start(void)
{
	struct board *new = kzalloc(sizeof(*new), GFP_KERNEL);

	if (!new)
		return -ENOMEM;
	IF_RIGHT(board = new);
	thread = kthread_run(tick, NULL, "early");
	if (IS_ERR(thread)) {
		kfree(new);
		return PTR_ERR(thread);
	}
	IF_WRONG(board = new); /* the write */
	return 0;
}
static void __exit stop(void)
{
	kthread_stop(thread);
	kfree(board);
}
module_init(start);
module_exit(stop);
