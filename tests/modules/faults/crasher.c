// SPDX-License-Identifier: GPL-2.0
/* A device with an ioctl that follows a NULL pointer, and only after a write of "go". */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#define CRASHER_ASK _IOR('c', 7, int)

static int *answer;
static int __maybe_unused forty_two = 42;
static bool ready;

static ssize_t crasher_write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
	char word[8] = "";

	if (copy_from_user(word, from, min(count, sizeof(word) - 1)))
		return -EFAULT;
	ready = sysfs_streq(word, "go");
#ifdef RIGHT
	answer = &forty_two;
#endif
	return count;
}

static long crasher_ioctl(struct file *file, unsigned int command, unsigned long to)
{
	if (command != CRASHER_ASK)
		return -ENOTTY;
	if (!ready)
		return -EAGAIN;
	return put_user(*answer, (int __user *)to);
}

static const struct file_operations crasher_fops = {
	.owner = THIS_MODULE,
	.write = crasher_write,
	.unlocked_ioctl = crasher_ioctl,
};

static struct miscdevice crasher = { .minor = MISC_DYNAMIC_MINOR, .name = "crasher", .fops = &crasher_fops };

module_misc_device(crasher);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Asks for trouble");
