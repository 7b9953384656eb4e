// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

struct req { struct completion done; int result; };
static struct req *pending;
static DEFINE_SPINLOCK(lock);
static void answer(struct work_struct *w);
static DECLARE_DELAYED_WORK(work, answer);
static void answer(struct work_struct *w)
{
	spin_lock(&lock);
	if (pending) {
		pending->result = 1;
		complete(&pending->done); /* BUG */
	}
	spin_unlock(&lock);
}
static DEFINE_MUTEX(one);
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	struct req req = { .result = 0 };
	ssize_t got = 0;

	if (mutex_lock_interruptible(&one))
		return -EINTR;
	init_completion(&req.done);
	spin_lock(&lock);
	pending = &req;
	spin_unlock(&lock);
	schedule_delayed_work(&work, 20);
	if (!wait_for_completion_timeout(&req.done, 10)) {
		got = -ETIMEDOUT;
#ifndef FIXED
		goto out;
#endif
	}
	spin_lock(&lock);
	pending = NULL;
	spin_unlock(&lock);
#ifndef FIXED
out:
#endif
	mutex_unlock(&one);
	return got;
}
static void bye(void) { cancel_delayed_work_sync(&work); }
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "late_complete", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
