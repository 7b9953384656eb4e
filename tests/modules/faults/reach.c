// SPDX-License-Identifier: GPL-2.0
/* What only an exercise reaches that finds a platform device's attributes, and knows which numbers matter to an ioctl. */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/uaccess.h>

struct reach_slot {
	u32 flags;
	u32 index;
};
#define REACH_SET _IOW('r', 1, struct reach_slot)
#define SLOTS 12

static bool divide;
module_param(divide, bool, 0);
static u32 slots[SLOTS];
static struct platform_device *device;

static ssize_t period_store(struct device *dev, struct device_attribute *attribute, const char *text, size_t size)
{
	u32 value;
	int error = kstrtou32(text, 0, &value);

	if (error)
		return error;
	if (!value && !divide)
		return -EINVAL;
	WRITE_ONCE(slots[0], 1000 / value); /* divides */
	return size;
}
static DEVICE_ATTR_WO(period);

static long reach_ioctl(struct file *file, unsigned int request, unsigned long pointer)
{
	struct reach_slot slot;

	if (request != REACH_SET)
		return -ENOTTY;
	if (copy_from_user(&slot, (void __user *)pointer, sizeof(slot)))
		return -EFAULT;
#ifdef RIGHT
	if (slot.index >= SLOTS)
#else
	if (slot.index > SLOTS)
#endif
		return -EINVAL;
	WRITE_ONCE(slots[slot.index], slot.flags); /* stores */
	return 0;
}

static const struct file_operations operations = { .owner = THIS_MODULE, .unlocked_ioctl = reach_ioctl };
static struct miscdevice misc = { .minor = MISC_DYNAMIC_MINOR, .name = KBUILD_MODNAME, .fops = &operations };

static int __init reach_init(void)
{
	int error = misc_register(&misc);

	if (error)
		return error;
	device = platform_device_register_simple(KBUILD_MODNAME, -1, NULL, 0);
	if (IS_ERR(device)) {
		error = PTR_ERR(device);
		goto no_device;
	}
	error = device_create_file(&device->dev, &dev_attr_period);
	if (error)
		goto no_file;
	return 0;
no_file:
	platform_device_unregister(device);
no_device:
	misc_deregister(&misc);
	return error;
}

static void __exit reach_exit(void)
{
	device_remove_file(&device->dev, &dev_attr_period);
	platform_device_unregister(device);
	misc_deregister(&misc);
}

module_init(reach_init);
module_exit(reach_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Has an attribute and a table");
