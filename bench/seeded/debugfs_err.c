// SPDX-License-Identifier: GPL-2.0
/* kind: wild access */
#include "seeded.h"

static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct file *file = filp_open("/nowhere/log", O_WRONLY, 0);
	loff_t size;
#ifdef FIXED
	if (IS_ERR(file))
		return PTR_ERR(file);
#else
	if (!file)
		return -ENOENT;
#endif
	size = i_size_read(file_inode(file)); /* BUG */
	filp_close(file, NULL);
	return size ? n : -EIO;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "debugfs_err", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
