// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct box { char b[48]; size_t n; };
static struct box box;
static int actor(struct pipe_inode_info *p, struct pipe_buffer *buf, struct splice_desc *sd)
{
	char *src = kmap_local_page(buf->page);
	size_t n = sd->len;
#ifdef FIXED
	n = min_t(size_t, n, sizeof(box.b));
#endif
	memcpy(box.b, src + buf->offset, n); /* BUG */
	box.n = n;
	kunmap_local(src);
	return sd->len;
}
static ssize_t sw(struct pipe_inode_info *p, struct file *f, loff_t *o, size_t n, unsigned int fl)
{
	struct splice_desc sd = { .total_len = n, .flags = fl, .pos = *o };
	ssize_t r;
	pipe_lock(p);
	r = __splice_from_pipe(p, &sd, actor);
	pipe_unlock(p);
	return r;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .splice_write = sw };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "splice_wr", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
