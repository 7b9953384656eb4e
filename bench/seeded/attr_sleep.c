// SPDX-License-Identifier: GPL-2.0
/* kind: locks, sleeping */
#include "seeded.h"

static DEFINE_SPINLOCK(lock);
static char cur[32] = "none";
static struct kobject *dir;
static ssize_t mode_show(struct kobject *k, struct kobj_attribute *a, char *b)
{
	char *t;
	ssize_t n;

	spin_lock(&lock);
#ifdef FIXED
	t = kstrdup(cur, GFP_ATOMIC);
#else
	t = kstrdup(cur, GFP_KERNEL); /* BUG */
#endif
	spin_unlock(&lock);
	if (!t)
		return -ENOMEM;
	n = sysfs_emit(b, "%s\n", t);
	kfree(t);
	return n;
}
static ssize_t mode_store(struct kobject *k, struct kobj_attribute *a, const char *b, size_t n)
{
	spin_lock(&lock);
	strscpy(cur, b, sizeof(cur));
	spin_unlock(&lock);
	return n;
}
static struct kobj_attribute attr = __ATTR_RW(mode);
static int __init m_init(void)
{
	int err;
	dir = kobject_create_and_add("attr_sleep", kernel_kobj);
	if (!dir)
		return -ENOMEM;
	err = sysfs_create_file(dir, &attr.attr);
	if (err)
		kobject_put(dir);
	return err;
}
static void __exit m_exit(void) { kobject_put(dir); }
module_init(m_init);
module_exit(m_exit);
