// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

static int show(struct seq_file *s, void *v) { seq_puts(s, "hello\n"); return 0; }
static int op(struct inode *i, struct file *f) { return single_open(f, show, NULL); } /* BUG */
static const struct proc_ops po = { .proc_open = op, .proc_read = seq_read, .proc_lseek = seq_lseek,
#ifndef FIXED
	.proc_release = seq_release,
#else
	.proc_release = single_release,
#endif
};
static int __init m_init(void) { return proc_create("seqrel", 0444, NULL, &po) ? 0 : -ENOMEM; }
static void __exit m_exit(void) { remove_proc_entry("seqrel", NULL); }
module_init(m_init); module_exit(m_exit);
