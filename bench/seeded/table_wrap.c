// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct rule { u64 a, b, c, d; };
struct req { u32 count; u32 last; u64 value; };
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct req q;
	struct rule *t;
	u32 bytes;

	if (cmd != _IOW('t', 7, struct req))
		return -ENOTTY;
	if (copy_from_user(&q, (void __user *)arg, sizeof(q)))
		return -EFAULT;
	if (!q.count || q.last >= q.count)
		return -EINVAL;
#ifdef FIXED
	if (q.count > 1024)
		return -E2BIG;
#endif
	bytes = q.count * sizeof(struct rule);
	if (bytes > 65536)
		return -E2BIG;
	t = kzalloc(bytes, GFP_KERNEL);
	if (!t)
		return -ENOMEM;
	t[q.last].a = q.value; /* BUG */
	kfree(t);
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "table_wrap", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
