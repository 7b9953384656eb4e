// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A reader sleeps until a writer has brought something; the state is set after the look. */
static struct task_struct *reader;
static int ready;
static DEFINE_MUTEX(one);
static ssize_t t_read(struct file *f, char __user *u, size_t n, loff_t *p)
{
	if (!mutex_trylock(&one))
		return -EBUSY;
	WRITE_ONCE(reader, current);
	IF_RIGHT(set_current_state(TASK_INTERRUPTIBLE);)
	if (!READ_ONCE(ready)) { /* the race */
		IF_WRONG(set_current_state(TASK_INTERRUPTIBLE);)
		schedule();
	}
	__set_current_state(TASK_RUNNING);
	WRITE_ONCE(ready, 0);
	WRITE_ONCE(reader, NULL);
	mutex_unlock(&one);
	return 0;
}
static ssize_t t_write(struct file *f, const char __user *u, size_t n, loff_t *p)
{
	struct task_struct *t;
	WRITE_ONCE(ready, 1);
	IF_RIGHT(smp_mb();)
	t = READ_ONCE(reader);
	if (t)
		wake_up_process(t);
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = t_write, .read = t_read };
static struct miscdevice dev = { .minor = MISC_DYNAMIC_MINOR, .name = "lostwake", .fops = &fops };
module_misc_device(dev);
