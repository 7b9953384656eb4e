// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

struct session { struct pid *owner; };
static int op(struct inode *i, struct file *f)
{
	struct session *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s)
		return -ENOMEM;
	s->owner = get_pid(task_tgid(current)); /* BUG */
	f->private_data = s;
	return 0;
}
static int rel(struct inode *i, struct file *f)
{
	struct session *s = f->private_data;
#ifdef FIXED
	put_pid(s->owner);
#endif
	kfree(s);
	return 0;
}
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	struct session *s = f->private_data;
	char text[16];

	return simple_read_from_buffer(b, n, o, text, scnprintf(text, sizeof(text), "%d\n", pid_vnr(s->owner)));
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .release = rel, .read = r };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "owner_pid", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
