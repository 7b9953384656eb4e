// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct path path;
	int err = kern_path("/dev", LOOKUP_FOLLOW, &path); /* BUG */
	if (err)
		return err;
	if (!d_is_dir(path.dentry)) {
		path_put(&path);
		return -ENOTDIR;
	}
#ifdef FIXED
	path_put(&path);
#endif
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "path_leak", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
