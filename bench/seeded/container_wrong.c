// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct small { int id; struct work_struct work; };
struct big { char name[96]; struct delayed_work d; u64 count[8]; };
static struct small *s;
static void run(struct work_struct *w)
{
#ifndef FIXED
	struct big *b = container_of(w, struct big, d.work);
#else
	struct small *b = container_of(w, struct small, work);
#endif
#ifndef FIXED
	b->count[3]++; /* BUG */
#else
	b->id++;
#endif
}
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o) { schedule_work(&s->work); return n; }
static int hello(void) { s = kzalloc(sizeof(*s), GFP_KERNEL); if (!s) return -ENOMEM; INIT_WORK(&s->work, run); return 0; }
static void bye(void) { cancel_work_sync(&s->work); kfree(s); }
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "container_wrong", .fops = &fops };
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
