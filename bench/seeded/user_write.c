// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"

static int state;
static int st_set(const char *val, const struct kernel_param *kp)
{
	int v, err = kstrtoint(val, 0, &v);

	if (err)
		return err;
#ifdef FIXED
	if (v < 0 || v > 31)
		return -EINVAL;
#endif
	state = 1u << v; /* BUG */
	return 0;
}
static int st_get(char *buf, const struct kernel_param *kp) { return sysfs_emit(buf, "%d\n", state); }
static const struct kernel_param_ops st_ops = { .set = st_set, .get = st_get };
module_param_cb(state, &st_ops, NULL, 0644);
static int __init m_init(void) { return 0; }
static void __exit m_exit(void) { }
module_init(m_init);
module_exit(m_exit);
