// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

struct hits { u32 hits; };
static struct dentry *dir;
static struct hits *st;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o) { WRITE_ONCE(st->hits, n); return n; }
static int hello(void)
{
	st = kzalloc(sizeof(*st), GFP_KERNEL);
	if (!st)
		return -ENOMEM;
	dir = debugfs_create_dir("debug_var", NULL);
	debugfs_create_u32("hits", 0644, dir, &st->hits);
	return 0;
}
static void bye(void)
{
#ifdef FIXED
	debugfs_remove(dir);
	kfree(st);
#else
	kfree(st); /* BUG */
	debugfs_remove(dir);
#endif
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "debug_var", .fops = &fops };
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
