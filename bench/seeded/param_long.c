// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static char dev_name_[12] = "none";
static int set(const char *v, const struct kernel_param *kp)
{
#ifndef FIXED
	strcpy(dev_name_, v); /* BUG */
#else
	if (strscpy(dev_name_, v, sizeof(dev_name_)) < 0)
		return -EINVAL;
#endif
	return 0;
}
static int get(char *b, const struct kernel_param *kp) { return sysfs_emit(b, "%s\n", dev_name_); }
static const struct kernel_param_ops po = { .set = set, .get = get };
module_param_cb(name, &po, NULL, 0644);
static int __init m_init(void) { return 0; }
static void __exit m_exit(void) { }
module_init(m_init); module_exit(m_exit);
