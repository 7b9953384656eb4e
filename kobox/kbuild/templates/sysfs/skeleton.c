// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: attributes in sysfs, under /sys/kernel/skeleton.
 *
 * One value a file, as text: `colour` is one of a few words, `level` a number,
 * `changes` counts the writes and cannot be written.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kernel.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/string.h>
#include <linux/sysfs.h>

static const char *const colours[] = { "red", "green", "blue" };

static int colour;
static int level;
static unsigned int changes;
static DEFINE_MUTEX(values_lock);	/* guards the three */

static struct kobject *skeleton_kobj;

static ssize_t colour_show(struct kobject *kobj, struct kobj_attribute *attr,
			   char *buf)
{
	/* sysfs_emit() knows that the buffer is a page, and a page at most. */
	return sysfs_emit(buf, "%s\n", colours[READ_ONCE(colour)]);
}

static ssize_t colour_store(struct kobject *kobj, struct kobj_attribute *attr,
			    const char *buf, size_t count)
{
	/* Ignores the newline that echo adds. */
	int found = sysfs_match_string(colours, buf);

	if (found < 0)
		return found;
	mutex_lock(&values_lock);
	colour = found;
	changes++;
	mutex_unlock(&values_lock);
	/* Wakes programs that poll() the file. */
	sysfs_notify(kobj, NULL, "colour");
	return count;
}
static struct kobj_attribute colour_attr = __ATTR_RW(colour);

static ssize_t level_show(struct kobject *kobj, struct kobj_attribute *attr,
			  char *buf)
{
	return sysfs_emit(buf, "%d\n", READ_ONCE(level));
}

static ssize_t level_store(struct kobject *kobj, struct kobj_attribute *attr,
			   const char *buf, size_t count)
{
	int value;
	int err;

	err = kstrtoint(buf, 0, &value);
	if (err)
		return err;
	mutex_lock(&values_lock);
	level = value;
	changes++;
	mutex_unlock(&values_lock);
	return count;
}
static struct kobj_attribute level_attr = __ATTR_RW(level);

static ssize_t changes_show(struct kobject *kobj, struct kobj_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(changes));
}
static struct kobj_attribute changes_attr = __ATTR_RO(changes);

static struct attribute *skeleton_attrs[] = {
	&colour_attr.attr,
	&level_attr.attr,
	&changes_attr.attr,
	NULL,
};

static const struct attribute_group skeleton_group = {
	.attrs = skeleton_attrs,
};

static int __init skeleton_init(void)
{
	int err;

	skeleton_kobj = kobject_create_and_add("skeleton", kernel_kobj);
	if (!skeleton_kobj)
		return -ENOMEM;
	err = sysfs_create_group(skeleton_kobj, &skeleton_group);
	if (err)
		kobject_put(skeleton_kobj);
	return err;
}

static void __exit skeleton_exit(void)
{
	/* The last reference: removes the directory and all that is in it. */
	kobject_put(skeleton_kobj);
}

module_init(skeleton_init);
module_exit(skeleton_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Attributes in sysfs");
