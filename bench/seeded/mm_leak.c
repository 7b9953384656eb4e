// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	struct mm_struct *mm = get_task_mm(current); /* BUG */
	char t[24];
	int l;
	if (!mm)
		return 0;
	l = snprintf(t, sizeof(t), "%lu\n", mm->total_vm);
#ifdef FIXED
	mmput(mm);
#endif
	return simple_read_from_buffer(b, n, o, t, l);
}
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "mm_leak", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
