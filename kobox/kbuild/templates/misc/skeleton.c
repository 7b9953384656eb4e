// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a misc device, the short way to a device node.
 *
 * All misc devices share major number 10; the kernel picks the minor number
 * and makes /dev/skeleton. Reading it gives how often it has been opened.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

static atomic_t opened = ATOMIC_INIT(0);

static int skeleton_open(struct inode *inode, struct file *file)
{
	/* misc_open() left the miscdevice here; we keep our number instead. */
	file->private_data = (void *)(long)atomic_inc_return(&opened);
	return 0;
}

static ssize_t skeleton_read(struct file *file, char __user *to, size_t count,
			     loff_t *pos)
{
	char text[16];
	int len;

	len = scnprintf(text, sizeof(text), "%ld\n", (long)file->private_data);
	return simple_read_from_buffer(to, count, pos, text, len);
}

static const struct file_operations skeleton_fops = {
	.owner = THIS_MODULE,
	.open = skeleton_open,
	.read = skeleton_read,
	.llseek = default_llseek,
};

static struct miscdevice skeleton_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "skeleton",
	.fops = &skeleton_fops,
	.mode = 0444,
};

/* Registers in init and deregisters in exit; there is nothing else to do. */
module_misc_device(skeleton_device);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A misc device that counts how often it is opened");
