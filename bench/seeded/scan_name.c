// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct rule { char name[12]; unsigned int port; };
static struct rule *cur;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char buf[80];
	if (n >= sizeof(buf))
		return -EINVAL;
	if (copy_from_user(buf, b, n))
		return -EFAULT;
	buf[n] = 0;
#ifdef FIXED
	if (sscanf(buf, "%11s %u", cur->name, &cur->port) < 1)
#else
	if (sscanf(buf, "%s %u", cur->name, &cur->port) < 1) /* BUG */
#endif
		return -EINVAL;
	return n;
}
static int hello(void) { cur = kzalloc(sizeof(*cur), GFP_KERNEL); return cur ? 0 : -ENOMEM; }
static void bye(void) { kfree(cur); }
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "scan_name", .fops = &fops };
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
