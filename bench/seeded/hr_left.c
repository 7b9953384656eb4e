// SPDX-License-Identifier: GPL-2.0
/* kind: left behind */
#include "seeded.h"

static struct hrtimer timer;
static unsigned long ticks;
static enum hrtimer_restart tick(struct hrtimer *t)
{
	ticks++;
	hrtimer_forward_now(t, ms_to_ktime(500));
	return HRTIMER_RESTART;
}
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	hrtimer_start(&timer, ms_to_ktime(500), HRTIMER_MODE_REL); /* BUG */
	return n;
}
static int hello(void)
{
	hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	timer.function = tick;
	return 0;
}
static void bye(void)
{
#ifdef FIXED
	hrtimer_cancel(&timer);
#endif
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "hr_left", .fops = &fops };
static int __init m_init(void)
{
	int err = hello();

	if (err)
		return err;
	err = misc_register(&mdev);
	if (err)
		bye();
	return err;
}
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
