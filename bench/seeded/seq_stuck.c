// SPDX-License-Identifier: GPL-2.0
/* kind: hang */
#include "seeded.h"

static int vals[3] = { 1, 2, 3 };
static void *st(struct seq_file *m, loff_t *p) { return *p < 3 ? &vals[*p] : NULL; }
static void *nx(struct seq_file *m, void *v, loff_t *p) /* BUG */
{
	int *n = v;
#ifdef FIXED
	++*p;
#endif
	n++; /* BUG */
	return n < vals + 3 ? n : NULL;
}
static void sp(struct seq_file *m, void *v) { }
static int sh(struct seq_file *m, void *v) { seq_printf(m, "%d\n", *(int *)v); return 0; }
static const struct seq_operations sops = { .start = st, .next = nx, .stop = sp, .show = sh }; /* BUG */
static int __init m_init(void) { return proc_create_seq("seq_stuck", 0444, NULL, &sops) ? 0 : -ENOMEM; }
static void __exit m_exit(void) { remove_proc_entry("seq_stuck", NULL); }
module_init(m_init);
module_exit(m_exit);
