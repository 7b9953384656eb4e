#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/sysfs.h>

static int target = 20;
static struct kobject *directory;

static ssize_t target_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", target);
}

static ssize_t target_store(struct kobject *kobj, struct kobj_attribute *attr, const char *buf, size_t count)
{
	int value, ret;

	ret = kstrtoint(buf, 10, &value);
	if (ret)
		return ret;
	if (value < 5 || value > 30)
		return -EINVAL;
	target = value;
	return count;
}

static struct kobj_attribute target_attribute = __ATTR_RW(target);

static int __init thermostat_init(void)
{
	int ret;

	directory = kobject_create_and_add("thermostat", kernel_kobj);
	if (!directory)
		return -ENOMEM;
	ret = sysfs_create_file(directory, &target_attribute.attr);
	if (ret)
		kobject_put(directory);
	return ret;
}

static void __exit thermostat_exit(void)
{
	kobject_put(directory);
}

module_init(thermostat_init);
module_exit(thermostat_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A number in /sys");
