// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

static struct workqueue_struct *wq;
static void run(struct work_struct *w) { }
static DECLARE_WORK(work, run);
static bool shut;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char c;
	if (!n || get_user(c, b))
		return -EFAULT;
	if (c == 'q' && wq) {
		destroy_workqueue(wq);
		shut = true;
#ifdef FIXED
		wq = NULL;
#endif
	} else if (wq) { /* BUG */
		queue_work(wq, &work); /* BUG */
	}
	return n;
}
static int hello(void) { wq = alloc_workqueue("after", 0, 0); return wq ? 0 : -ENOMEM; }
static void bye(void) { if (!shut) destroy_workqueue(wq); }
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "wq_after", .fops = &fops };
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
