// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static struct debugfs_blob_wrapper blob;
static struct dentry *dir;
static u8 *data;
static int __init m_init(void)
{
	data = kzalloc(48, GFP_KERNEL); /* BUG */
	if (!data)
		return -ENOMEM;
	blob.data = data;
#ifdef FIXED
	blob.size = 48;
#else
	blob.size = 64; /* BUG */
#endif
	dir = debugfs_create_dir("blob_size", NULL);
	debugfs_create_blob("dump", 0444, dir, &blob); /* BUG */
	return 0;
}
static void __exit m_exit(void) { debugfs_remove(dir); kfree(data); }
module_init(m_init);
module_exit(m_exit);
