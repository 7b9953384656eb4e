// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static struct proc_dir_entry *entry;
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char *in;
	int v, err;

	if (n > 32)
		return -EINVAL;
#ifdef FIXED
	in = kmalloc(n + 1, GFP_KERNEL);
#else
	in = kmalloc(n, GFP_KERNEL);
#endif
	if (!in)
		return -ENOMEM;
	if (copy_from_user(in, b, n)) {
		kfree(in);
		return -EFAULT;
	}
	in[n] = 0; /* BUG */
	err = kstrtoint(strim(in), 0, &v);
	kfree(in);
	return err ?: n;
}
static const struct proc_ops ops = { .proc_write = w };
static int __init m_init(void)
{
	entry = proc_create("proc_nul", 0644, NULL, &ops);
	return entry ? 0 : -ENOMEM;
}
static void __exit m_exit(void) { proc_remove(entry); }
module_init(m_init);
module_exit(m_exit);
