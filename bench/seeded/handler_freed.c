// SPDX-License-Identifier: GPL-2.0
/* kind: wild jump */
#include "seeded.h"

struct job { void (*run)(struct job *); int done; };
static void finish(struct job *j) { j->done++; }
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct job *j = kmalloc(sizeof(*j), GFP_KERNEL);
	char c;

	if (!j)
		return -ENOMEM;
	if (!n || get_user(c, b)) {
		kfree(j);
		return -EFAULT;
	}
	j->done = 0;
#ifdef FIXED
	j->run = finish;
#else
	if (c & 1)
		j->run = finish;
#endif
	j->run(j); /* BUG */
	kfree(j);
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "handler_freed", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
