// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct port { char label[8]; unsigned int speed; };
static struct port port;
static struct kobject *dir;
static ssize_t label_show(struct kobject *k, struct kobj_attribute *a, char *buf) { return sysfs_emit(buf, "%.8s %u\n", port.label, port.speed); }
static ssize_t label_store(struct kobject *k, struct kobj_attribute *a, const char *buf, size_t n)
{
	char name[8] = "";
#ifdef FIXED
	if (sscanf(buf, "%7s", name) != 1)
#else
	if (sscanf(buf, "%s", name) != 1) /* BUG */
#endif
		return -EINVAL;
	memcpy(port.label, name, 8);
	return n;
}
static struct kobj_attribute label = __ATTR_RW(label);
static int __init m_init(void)
{
	int err;

	dir = kobject_create_and_add("attr_scan", kernel_kobj);
	if (!dir)
		return -ENOMEM;
	err = sysfs_create_file(dir, &label.attr);
	if (err)
		kobject_put(dir);
	return err;
}
static void __exit m_exit(void) { kobject_put(dir); }
module_init(m_init);
module_exit(m_exit);
