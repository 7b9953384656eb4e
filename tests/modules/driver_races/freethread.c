// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A thread polls a buffer that exit frees. */
static struct task_struct *thread; static int *buffer;
static int poll_it(void *u)
{
	int sum = 0;
	while (!kthread_should_stop()) {
		sum += READ_ONCE(*buffer); /* the race */
		msleep(3);
	}
	return sum & 1;
}
static int __init t_init(void)
{
	buffer = kzalloc(64, GFP_KERNEL);
	if (!buffer)
		return -ENOMEM;
	thread = kthread_run(poll_it, NULL, "freethread");
	if (IS_ERR(thread)) { kfree(buffer); return PTR_ERR(thread); }
	return 0;
}
static void __exit t_exit(void)
{
	IF_WRONG(kfree(buffer);) /* the race */
	kthread_stop(thread);
	IF_RIGHT(kfree(buffer);)
}
module_init(t_init); module_exit(t_exit);
