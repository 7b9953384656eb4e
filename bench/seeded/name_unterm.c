// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct entry { char *name; u32 len; };
static struct entry ent;
static DEFINE_MUTEX(lock);
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char in[64] = "", *name;

	if (n >= sizeof(in))
		n = sizeof(in) - 1;
	if (copy_from_user(in, b, n))
		return -EFAULT;
	name = kzalloc(16, GFP_KERNEL);
	if (!name)
		return -ENOMEM;
#ifdef FIXED
	strscpy(name, in, 16);
#else
	strncpy(name, in, 16);
#endif
	mutex_lock(&lock);
	kfree(ent.name);
	ent.name = name;
	ent.len = strlen(ent.name); /* BUG */
	mutex_unlock(&lock);
	return n;
}
static void bye(void) { kfree(ent.name); }
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "name_unterm", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
