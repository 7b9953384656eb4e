// SPDX-License-Identifier: GPL-2.0
/* One place in the code, reached by two ways: only one of them takes care of a failure. */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>

static char *first;

static noinline char *made(void)
{
	return kzalloc(32, GFP_KERNEL);
}

static int helper_open(struct inode *inode, struct file *file)
{
	char *own = made();

#ifdef RIGHT
	if (!own)
		return -ENOMEM;
#endif
	own[3] = 1;
	file->private_data = own;
	return 0;
}

static int helper_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static const struct file_operations helper_fops = {
	.owner = THIS_MODULE,
	.open = helper_open,
	.release = helper_release,
};

static struct miscdevice helper = { .minor = MISC_DYNAMIC_MINOR, .name = "helper", .fops = &helper_fops };

static int __init helper_init(void)
{
	int err;

	first = made();
	if (!first)
		return -ENOMEM;
	err = misc_register(&helper);
	if (err)
		kfree(first);
	return err;
}

static void __exit helper_exit(void)
{
	misc_deregister(&helper);
	kfree(first);
}

module_init(helper_init);
module_exit(helper_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Fails by one way of two");
