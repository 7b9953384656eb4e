// SPDX-License-Identifier: GPL-2.0
/* kind: locks, sleeping */
#include "seeded.h"

static DEFINE_MUTEX(lock);
static int values[4] = { 1, 2, 3, 4 };
static void *start(struct seq_file *s, loff_t *pos) { mutex_lock(&lock); /* BUG */ return *pos < 4 ? &values[*pos] : NULL; }
static void *next(struct seq_file *s, void *v, loff_t *pos) { ++*pos; return *pos < 4 ? &values[*pos] : NULL; }
static void stop(struct seq_file *s, void *v)
{
#ifndef FIXED
	if (v)
#endif
		mutex_unlock(&lock);
}
static int show(struct seq_file *s, void *v) { seq_printf(s, "%d\n", *(int *)v); return 0; }
static const struct seq_operations sops = { .start = start, .next = next, .stop = stop, .show = show };
static int op(struct inode *i, struct file *f) { f->private_data = NULL; return seq_open(f, &sops); }
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op, .read = seq_read, .llseek = seq_lseek, .release = seq_release };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "seq_null_stop", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
