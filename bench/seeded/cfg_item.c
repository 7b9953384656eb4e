// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"
#include <linux/configfs.h>

struct thing { struct config_item item; int val; };
static inline struct thing *to_thing(struct config_item *i) { return container_of(i, struct thing, item); }
static ssize_t thing_val_show(struct config_item *i, char *b) { return sprintf(b, "%d\n", to_thing(i)->val); }
static ssize_t thing_val_store(struct config_item *i, const char *b, size_t n)
{
	int err = kstrtoint(b, 0, &to_thing(i)->val);
	return err ? err : n;
}
CONFIGFS_ATTR(thing_, val);
static struct configfs_attribute *attrs[] = { &thing_attr_val, NULL };
#ifdef FIXED
static void thing_release(struct config_item *i) { kfree(to_thing(i)); }
static struct configfs_item_operations iops = { .release = thing_release };
#endif
static const struct config_item_type itype = {
#ifdef FIXED
	.ct_item_ops = &iops,
#endif
	.ct_attrs = attrs, .ct_owner = THIS_MODULE };
static struct config_item *make(struct config_group *g, const char *name)
{
	struct thing *t = kzalloc(sizeof(*t), GFP_KERNEL); /* BUG */
	if (!t)
		return ERR_PTR(-ENOMEM);
	config_item_init_type_name(&t->item, name, &itype);
	return &t->item;
}
static struct configfs_group_operations gops = { .make_item = make };
static const struct config_item_type gtype = { .ct_group_ops = &gops, .ct_owner = THIS_MODULE };
static struct configfs_subsystem sub = {
	.su_group = { .cg_item = { .ci_namebuf = "cfg_item", .ci_type = &gtype } },
};
static int __init m_init(void)
{
	config_group_init(&sub.su_group);
	mutex_init(&sub.su_mutex);
	return configfs_register_subsystem(&sub);
}
static void __exit m_exit(void) { configfs_unregister_subsystem(&sub); }
module_init(m_init);
module_exit(m_exit);
