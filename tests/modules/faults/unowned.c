// SPDX-License-Identifier: GPL-2.0
/* Its file operations do not say whose they are: the module can be unloaded while somebody is in them. */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/uaccess.h>

static char last[16];

static ssize_t unowned_write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
	count = min_t(size_t, count, sizeof(last));
	if (copy_from_user(last, from, count))
		return -EFAULT;
	last[0] ^= 0x20; /* interrupted */
	return count;
}

static const struct file_operations unowned_fops = {
#ifdef RIGHT
	.owner = THIS_MODULE,
#endif
	.write = unowned_write,
};

static int __init unowned_init(void)
{
	int major = register_chrdev(60, "unowned", &unowned_fops);

	return major < 0 ? major : 0;
}

static void __exit unowned_exit(void)
{
	unregister_chrdev(60, "unowned");
}

module_init(unowned_init);
module_exit(unowned_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("File operations without an owner");
