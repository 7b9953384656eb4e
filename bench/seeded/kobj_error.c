// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

struct node { struct kobject kobj; int val; };
static struct node *n;
static void rel(struct kobject *k) { kfree(container_of(k, struct node, kobj)); }
static struct kobj_type kt = { .release = rel };
static int __init m_init(void)
{
	int err;

	n = kzalloc(sizeof(*n), GFP_KERNEL);
	if (!n)
		return -ENOMEM;
	kobject_init(&n->kobj, &kt);
	err = kobject_add(&n->kobj, kernel_kobj, "kobj_error%d", n->val); /* BUG */
	if (err) {
#ifdef FIXED
		kobject_put(&n->kobj);
#else
		kfree(n); /* BUG */
#endif
	}
	return err;
}
static void __exit m_exit(void) { kobject_put(&n->kobj); }
module_init(m_init);
module_exit(m_exit);
