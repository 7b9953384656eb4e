// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	struct pid *p = find_get_pid(1); /* BUG */
	struct task_struct *t;
	char name[TASK_COMM_LEN];

	if (!p)
		return -ESRCH;
	t = get_pid_task(p, PIDTYPE_PID);
	if (!t)
		return -ESRCH;
	get_task_comm(name, t);
	put_task_struct(t);
#ifdef FIXED
	put_pid(p);
#endif
	return simple_read_from_buffer(b, n, o, name, strlen(name));
}
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "find_pid", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
