// SPDX-License-Identifier: GPL-2.0
/* A misc device that says how often it was opened, and refuses writes with an errno of its own. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

static atomic_t opened = ATOMIC_INIT(0);

static int miscdev_open(struct inode *inode, struct file *file)
{
	atomic_inc(&opened);
	return 0;
}

static ssize_t miscdev_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	char text[16];

	return simple_read_from_buffer(to, size, at, text, scnprintf(text, sizeof(text), "%d\n", atomic_read(&opened)));
}

static ssize_t miscdev_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	return -EXDEV;
}

static const struct file_operations miscdev_fops = {
	.owner = THIS_MODULE,
	.open = miscdev_open,
	.read = miscdev_read,
	.write = miscdev_write,
};

static struct miscdevice miscdev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "miscdev",
	.fops = &miscdev_fops,
	.mode = 0640,
};

module_misc_device(miscdev);
MODULE_LICENSE("GPL");
