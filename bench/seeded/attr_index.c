// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static u32 gains[6];
module_param_array(gains, uint, NULL, 0644);
static u32 sel;
static struct dentry *dir;
static int get(void *d, u64 *v)
{
	*v = gains[sel]; /* BUG */
	return 0;
}
static int set(void *d, u64 v)
{
#ifdef FIXED
	if (v >= ARRAY_SIZE(gains))
#else
	if (v > ARRAY_SIZE(gains))
#endif
		return -ERANGE;
	sel = v;
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(sel_fops, get, set, "%llu\n");
static int __init m_init(void)
{
	dir = debugfs_create_dir("attr_index", NULL);
	debugfs_create_file("gain", 0644, dir, NULL, &sel_fops);
	return 0;
}
static void __exit m_exit(void) { debugfs_remove(dir); }
module_init(m_init);
module_exit(m_exit);
