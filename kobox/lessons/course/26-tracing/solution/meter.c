// SPDX-License-Identifier: GPL-2.0
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

static noinline ssize_t meter_write(struct file *file, const char __user *data, size_t size, loff_t *at)
{
	return size > 8 ? -EFBIG : size;
}

static const struct file_operations meter_operations = {
	.owner = THIS_MODULE,
	.write = meter_write,
};

static struct miscdevice meter = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "meter",
	.fops = &meter_operations,
};
module_misc_device(meter);

MODULE_DESCRIPTION("A device that takes at most 8 bytes at a time");
MODULE_LICENSE("GPL");
