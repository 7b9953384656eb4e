// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"
#include <linux/configfs.h>

static char label[16];
static ssize_t top_label_show(struct config_item *i, char *b) { return sprintf(b, "%.16s\n", label); }
static ssize_t top_label_store(struct config_item *i, const char *b, size_t n)
{
#ifdef FIXED
	if (n > sizeof(label))
		return -EINVAL;
#endif
	memcpy(label, b, n); /* BUG */
	return n;
}
CONFIGFS_ATTR(top_, label);
static struct configfs_attribute *attrs[] = { &top_attr_label, NULL };
static const struct config_item_type gtype = { .ct_attrs = attrs, .ct_owner = THIS_MODULE };
static struct configfs_subsystem sub = {
	.su_group = { .cg_item = { .ci_namebuf = "cfg_store", .ci_type = &gtype } },
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
