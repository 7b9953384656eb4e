// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

struct ent { int id; u32 val; };
static DEFINE_IDR(ids);
static DEFINE_MUTEX(lock);
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct ent *e;
	long ret = 0;

	mutex_lock(&lock);
	switch (cmd) {
	case 11:
		e = kzalloc(sizeof(*e), GFP_KERNEL);
		ret = e ? idr_alloc(&ids, e, 1, 16, GFP_KERNEL) : -ENOMEM;
		if (ret < 0)
			kfree(e);
		else
			e->id = ret;
		break;
	case 12:
		e = idr_find(&ids, arg);
		if (!e) {
			ret = -ENOENT;
			break;
		}
#ifdef FIXED
		idr_remove(&ids, arg);
#endif
		kfree(e);
		break;
	case 13:
		e = idr_find(&ids, arg);
		ret = e ? e->val : -ENOENT; /* BUG */
		break;
	default:
		ret = -ENOTTY;
	}
	mutex_unlock(&lock);
	return ret;
}
#ifdef FIXED
static int one(int id, void *p, void *d) { kfree(p); return 0; }
#endif
static int hello(void) { return 0; }
static void bye(void)
{
#ifdef FIXED
	idr_for_each(&ids, one, NULL);
#endif
	idr_destroy(&ids);
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "idr_stale", .fops = &fops };
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
