// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static int iter(struct file *f, struct dir_context *c) { return 0; }
static ssize_t gx(const struct xattr_handler *h, struct dentry *d, struct inode *i, const char *n, void *b, size_t s)
{
	static const char val[] = "a label that is long enough";
#ifdef FIXED
	if (b && s < sizeof(val))
		return -ERANGE;
#endif
	if (b)
		memcpy(b, val, sizeof(val)); /* BUG */
	return sizeof(val);
}
static const struct xattr_handler xh = { .prefix = "user.", .get = (void *)gx };
static const struct xattr_handler *xhs[] = { &xh, NULL };
static const struct super_operations sops = { .statfs = simple_statfs, .drop_inode = generic_delete_inode };
static int fill(struct super_block *s, void *d, int sil)
{
	struct inode *i;
	(void)iter;
	s->s_magic = 0x746f79; s->s_op = &sops; s->s_xattr = (void *)xhs; s->s_time_gran = 1;
	i = new_inode(s);
	if (!i)
		return -ENOMEM;
	i->i_ino = 1; i->i_mode = S_IFDIR | 0755; i->i_op = &simple_dir_inode_operations; i->i_fop = &simple_dir_operations; set_nlink(i, 2);
	s->s_root = d_make_root(i);
	return s->s_root ? 0 : -ENOMEM;
}
static struct dentry *mnt(struct file_system_type *t, int fl, const char *n, void *d) { return mount_nodev(t, fl, d, fill); }
static struct file_system_type ft = { .owner = THIS_MODULE, .name = "labelfs", .mount = mnt, .kill_sb = kill_litter_super };
static int __init m_init(void) { return register_filesystem(&ft); }
static void __exit m_exit(void) { unregister_filesystem(&ft); }
module_init(m_init); module_exit(m_exit);
