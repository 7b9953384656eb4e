// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A waker sets the flag, and looks for a sleeper before the flag is written: x86 reorders these two. */
static int waiting, data;
static DECLARE_WAIT_QUEUE_HEAD(wq);
static ssize_t s_read(struct file *f, char __user *u, size_t n, loff_t *o)
{
	DEFINE_WAIT(w);
	ssize_t ret = 0;
	for (;;) {
		prepare_to_wait(&wq, &w, TASK_INTERRUPTIBLE);
		if (xchg(&data, 0)) break;
		if (signal_pending(current)) { ret = -EINTR; break; }
		schedule();
	}
	finish_wait(&wq, &w);
	return ret;
}
static ssize_t s_write(struct file *f, const char __user *u, size_t n, loff_t *o)
{
	WRITE_ONCE(data, 1); /* the race */
	IF_RIGHT(smp_mb();)
	if (waitqueue_active(&wq)) /* the race */
		wake_up_interruptible(&wq);
	return n;
}
MISC("sleeperflag", .read = s_read, .write = s_write);
module_misc_device(device);
