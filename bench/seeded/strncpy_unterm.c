// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct nm { char name[8]; };
static struct nm *nm;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char t[32] = "";
	if (copy_from_user(t, b, min_t(size_t, n, 31)))
		return -EFAULT;
#ifndef FIXED
	strncpy(nm->name, t, 8);
#else
	strscpy(nm->name, t, 8);
#endif
	return n;
}
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	char t[64];
	int l = scnprintf(t, sizeof(t), "%s\n", nm->name); /* BUG */
	return simple_read_from_buffer(b, n, o, t, l);
}
static int hello(void) { nm = kzalloc(sizeof(*nm), GFP_KERNEL); return nm ? 0 : -ENOMEM; }
static void bye(void) { kfree(nm); }
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "strncpy_unterm", .fops = &fops };
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
