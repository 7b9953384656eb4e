// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static u8 *cal;
static ssize_t rd(struct file *f, struct kobject *k, struct bin_attribute *a, char *b, loff_t off, size_t n)
{
	memcpy(b, cal + off, n); /* BUG */
	return n;
}
static struct bin_attribute at = { .attr = { .name = "cal", .mode = 0444 }, .read = rd,
#ifndef FIXED
	.size = 0,
#else
	.size = 256,
#endif
};
static int __init m_init(void)
{
	int err;
	cal = kzalloc(256, GFP_KERNEL);
	if (!cal)
		return -ENOMEM;
	err = sysfs_create_bin_file(&THIS_MODULE->mkobj.kobj, &at);
	if (err)
		kfree(cal);
	return err;
}
static void __exit m_exit(void) { sysfs_remove_bin_file(&THIS_MODULE->mkobj.kobj, &at); kfree(cal); }
module_init(m_init); module_exit(m_exit);
