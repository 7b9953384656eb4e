// SPDX-License-Identifier: GPL-2.0
/* kind: freed wrongly */
#include "seeded.h"

struct node { struct kobject kobj; int val; };
static struct node *n;
static void rel(struct kobject *k) { kfree(container_of(k, struct node, kobj)); }
static ssize_t show(struct kobject *k, struct attribute *a, char *b)
{
	return sysfs_emit(b, "%d\n", container_of(k, struct node, kobj)->val);
}
static const struct sysfs_ops sops = { .show = show };
static struct kobj_type kt = { .release = rel, .sysfs_ops = &sops };
static int __init m_init(void)
{
	int err;

	n = kzalloc(sizeof(*n), GFP_KERNEL);
	if (!n)
		return -ENOMEM;
	err = kobject_init_and_add(&n->kobj, &kt, kernel_kobj, "kobj_free");
	if (err)
		kobject_put(&n->kobj);
	return err;
}
static void __exit m_exit(void)
{
	kobject_del(&n->kobj);
#ifdef FIXED
	kobject_put(&n->kobj);
#else
	kfree(n); /* BUG */
#endif
}
module_init(m_init);
module_exit(m_exit);
