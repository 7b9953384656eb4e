// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static u32 regs[40];
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	char *t = kzalloc(256, GFP_KERNEL);
	int i, l = 0;
	ssize_t ret;
	if (!t)
		return -ENOMEM;
	for (i = 0; i < 40; i++)
#ifndef FIXED
		l += snprintf(t + l, 256 - l, "reg%02d=%08x\n", i, regs[i]);
#else
		l += scnprintf(t + l, 256 - l, "reg%02d=%08x\n", i, regs[i]);
#endif
	ret = simple_read_from_buffer(b, n, o, t, l); /* BUG */
	kfree(t);
	return ret;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "snprintf_acc", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
