// SPDX-License-Identifier: GPL-2.0
/* kind: locks, sleeping */
#include "seeded.h"

static DEFINE_SPINLOCK(lock);
static int vals[3] = { 1, 2, 3 };
static void *st(struct seq_file *m, loff_t *p) { spin_lock(&lock); return *p < 3 ? &vals[*p] : NULL; }
static void *nx(struct seq_file *m, void *v, loff_t *p) { return ++*p < 3 ? &vals[*p] : NULL; }
static void sp(struct seq_file *m, void *v) { spin_unlock(&lock); }
static int sh(struct seq_file *m, void *v)
{
#ifdef FIXED
	char *t = kasprintf(GFP_ATOMIC, "<%d>", *(int *)v);
#else
	char *t = kasprintf(GFP_KERNEL, "<%d>", *(int *)v); /* BUG */
#endif
	if (!t)
		return -ENOMEM;
	seq_puts(m, t);
	kfree(t);
	return 0;
}
static const struct seq_operations sops = { .start = st, .next = nx, .stop = sp, .show = sh };
static int __init m_init(void) { return proc_create_seq("seq_alloc", 0444, NULL, &sops) ? 0 : -ENOMEM; }
static void __exit m_exit(void) { remove_proc_entry("seq_alloc", NULL); }
module_init(m_init);
module_exit(m_exit);
