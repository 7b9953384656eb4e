// SPDX-License-Identifier: GPL-2.0
/* An attribute of sysfs that prints more than fits on its page, and one that does not. */
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/sysfs.h>

static ssize_t fill(char *page, int lines, int more)
{
	int at = 0;

	while (lines--)
		at += sprintf(page + at, "%015d\n", lines);
	return at + sprintf(page + at, "%0*d", more, 0); /* prints too much */
}

static ssize_t much_show(struct kobject *kobject, struct kobj_attribute *attribute, char *page)
{
	return fill(page, 255, 16);
}
static struct kobj_attribute much = __ATTR_RO(much);

static ssize_t right_show(struct kobject *kobject, struct kobj_attribute *attribute, char *page)
{
	return fill(page, 255, 15);
}
static struct kobj_attribute right = __ATTR_RO(right);

static struct kobject *kobject;

static int __init shows_init(void)
{
	kobject = kobject_create_and_add("shows", kernel_kobj);
	if (!kobject)
		return -ENOMEM;
	if (sysfs_create_file(kobject, &much.attr) || sysfs_create_file(kobject, &right.attr)) {
		kobject_put(kobject);
		return -ENOMEM;
	}
	return 0;
}

static void __exit shows_exit(void)
{
	kobject_put(kobject);
}

module_init(shows_init);
module_exit(shows_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Shows too much");
