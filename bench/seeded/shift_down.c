// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static char line[64];
static unsigned int have;
static DEFINE_MUTEX(lock);
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	n = min(n, sizeof(line));
	mutex_lock(&lock);
	if (have + n > sizeof(line)) {
		unsigned int drop = have + n - sizeof(line);
#ifdef FIXED
		memmove(line, line + drop, have - drop);
#else
		memcpy(line, line + drop, have - drop); /* BUG */
#endif
		have -= drop;
	}
	if (copy_from_user(line + have, b, n)) {
		mutex_unlock(&lock);
		return -EFAULT;
	}
	have += n;
	mutex_unlock(&lock);
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "shift_down", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
