// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

struct req { struct kiocb *iocb; struct delayed_work w; size_t n; };
static void done(struct work_struct *w)
{
	struct req *q = container_of(w, struct req, w.work);
	struct kiocb *k = q->iocb;
	size_t n = q->n;
	kfree(q);
#ifndef FIXED
	n = q->n; /* BUG */
#endif
	k->ki_complete(k, n);
}
static ssize_t rd(struct kiocb *k, struct iov_iter *it)
{
	struct req *q;
	if (is_sync_kiocb(k))
		return 0;
	q = kmalloc(sizeof(*q), GFP_KERNEL);
	if (!q)
		return -ENOMEM;
	q->iocb = k;
	q->n = iov_iter_count(it);
	INIT_DELAYED_WORK(&q->w, done);
	schedule_delayed_work(&q->w, 1);
	return -EIOCBQUEUED;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .read_iter = rd };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "aio_done", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
