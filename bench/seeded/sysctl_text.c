// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static char *name;
static struct ctl_table tab[] = {
	{ .procname = "name",
#ifdef FIXED
	  .maxlen = 24,
#else
	  .maxlen = 64,
#endif
	  .mode = 0644, .proc_handler = proc_dostring },
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
	{ }
#endif
};
static struct ctl_table_header *h;
static int __init m_init(void)
{
	name = kzalloc(24, GFP_KERNEL); /* BUG */
	if (!name)
		return -ENOMEM;
	tab[0].data = name;
	h = register_sysctl("dev/seeded", tab); /* BUG */
	if (!h)
		kfree(name);
	return h ? 0 : -ENOMEM;
}
static void __exit m_exit(void) { unregister_sysctl_table(h); kfree(name); }
module_init(m_init);
module_exit(m_exit);
