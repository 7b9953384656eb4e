// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static char *data;
static ssize_t rd(struct kiocb *k, struct iov_iter *it)
{
	size_t n = iov_iter_count(it);
	if (k->ki_pos >= 100)
		return 0;
#ifndef FIXED
	n = min_t(size_t, n, 100);
#else
	n = min_t(size_t, n, 100 - k->ki_pos);
#endif
	n = copy_to_iter(data + k->ki_pos, n, it); /* BUG */
	k->ki_pos += n;
	return n;
}
static int hello(void) { data = kzalloc(100, GFP_KERNEL); return data ? 0 : -ENOMEM; }
static void bye(void) { kfree(data); }
static const struct file_operations fops = { .owner = THIS_MODULE, .read_iter = rd };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "iter_read", .fops = &fops };
static int __init m_init(void)
{
	int err = hello();
	if (err)
		return err;
	err = misc_register(&mdev);
	if (err)
		bye();
	return err;
}
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
