// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"

static char motd[64] = "hello";
static DEFINE_MUTEX(lock);
static int show(struct seq_file *s, void *v)
{
	mutex_lock(&lock);
#ifdef FIXED
	seq_printf(s, "%s", motd);
#else
	seq_printf(s, motd); /* BUG */
#endif
	mutex_unlock(&lock);
	return 0;
}
static int op(struct inode *i, struct file *f) { f->private_data = NULL; return single_open(f, show, NULL); }
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char in[64] = "";

	n = min(n, sizeof(in) - 1);
	if (copy_from_user(in, b, n))
		return -EFAULT;
	mutex_lock(&lock);
	strscpy(motd, in, sizeof(motd));
	mutex_unlock(&lock);
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .read = seq_read, .llseek = seq_lseek, .release = single_release, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "seq_format", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
