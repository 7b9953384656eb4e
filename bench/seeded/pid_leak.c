// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

static struct pid *owner;
static int op(struct inode *i, struct file *f)
{
	struct pid *old = owner;
	owner = get_pid(task_pid(current)); /* BUG */
#ifdef FIXED
	put_pid(old);
#endif
	return 0;
}
static void bye(void) { put_pid(owner); }
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "pid_leak", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
