// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A label of the device in sysfs. */
static char *label;
static DEFINE_MUTEX(lock);
static ssize_t label_show(struct device *d, struct device_attribute *a, char *b)
{
	ssize_t n;
	IF_RIGHT(mutex_lock(&lock);)
	n = sysfs_emit(b, "%s\n", label ? label : ""); /* the race */
	IF_RIGHT(mutex_unlock(&lock);)
	return n;
}
static ssize_t label_store(struct device *d, struct device_attribute *a, const char *b, size_t n)
{
	char *new = kstrndup(b, n, GFP_KERNEL), *old;
	if (!new)
		return -ENOMEM;
	mutex_lock(&lock);
	old = label;
	label = new;
	mutex_unlock(&lock);
	kfree(old);
	return n;
}
static DEVICE_ATTR_RW(label);
static struct attribute *attrs[] = { &dev_attr_label.attr, NULL };
static const struct attribute_group group = { .attrs = attrs };
static const struct attribute_group *groups[] = { &group, NULL };
static const struct file_operations fops = { .owner = THIS_MODULE };
static struct miscdevice dev = { .minor = MISC_DYNAMIC_MINOR, .name = "label", .fops = &fops, .groups = groups };
static int __init t_init(void) { return misc_register(&dev); }
static void __exit t_exit(void) { misc_deregister(&dev); kfree(label); }
module_init(t_init); module_exit(t_exit);
