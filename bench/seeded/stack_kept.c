// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

static int *last;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	int here[4] = { 1, 2, n, 4 };
#ifndef FIXED
	if (last && last[2] == 77) /* BUG */
		n = 1;
	last = here;
#endif
	WRITE_ONCE(here[1], 5);
	return n;
}
static void bye(void) { last = NULL; }
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "stack_kept", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
