// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static int lim[4] = { 1, 2, 3, 4 };
static int other[8] __used;
static struct ctl_table tab[] = {
	{ .procname = "limits", .data = lim, /* BUG */
#ifdef FIXED
	  .maxlen = sizeof(lim),
#else
	  .maxlen = 8 * sizeof(int),
#endif
	  .mode = 0644, .proc_handler = proc_dointvec },
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
	{ }
#endif
};
static struct ctl_table_header *h;
static int __init m_init(void) { h = register_sysctl("dev/seeded", tab); /* BUG */ return h ? 0 : -ENOMEM; }
static void __exit m_exit(void) { unregister_sysctl_table(h); }
module_init(m_init);
module_exit(m_exit);
