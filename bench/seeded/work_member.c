// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct unit { u32 state; struct work_struct start; u32 pad[4]; struct work_struct stop; u32 n; };
static struct unit *u;
static void run_start(struct work_struct *w) { container_of(w, struct unit, start)->n++; }
static void run_stop(struct work_struct *w)
{
#ifdef FIXED
	struct unit *x = container_of(w, struct unit, stop);
#else
	struct unit *x = container_of(w, struct unit, start);
#endif
	x->n = 0; /* BUG */
}
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char c;
	if (!n || get_user(c, b))
		return -EFAULT;
	schedule_work(c == '0' ? &u->stop : &u->start);
	return n;
}
static int hello(void)
{
	u = kzalloc(sizeof(*u), GFP_KERNEL);
	if (!u)
		return -ENOMEM;
	INIT_WORK(&u->start, run_start);
	INIT_WORK(&u->stop, run_stop);
	return 0;
}
static void bye(void) { cancel_work_sync(&u->start); cancel_work_sync(&u->stop); kfree(u); }
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "work_member", .fops = &fops };
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
