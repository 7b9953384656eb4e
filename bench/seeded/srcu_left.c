// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"
#include <linux/srcu.h>

static struct srcu_struct ss;
static int val = 3;
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	int i = srcu_read_lock(&ss), v = val;
	srcu_read_unlock(&ss, i);
	return n && !put_user((char)v, b) ? 1 : -EFAULT;
}
static int hello(void) { return init_srcu_struct(&ss); /* BUG */ }
static void bye(void)
{
#ifdef FIXED
	cleanup_srcu_struct(&ss);
#endif
}
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "srcu_left", .fops = &fops };
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
