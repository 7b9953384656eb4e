// SPDX-License-Identifier: GPL-2.0
/* Can be loaded once: its exit forgets the file that the next init wants to make. */
#include <linux/module.h>
#include <linux/proc_fs.h>

static const struct proc_ops once_ops;

static int __init once_init(void)
{
	return proc_create("kobox_once", 0400, NULL, &once_ops) ? 0 : -ENOMEM;
}

static void __exit once_exit(void)
{
#ifdef RIGHT
	remove_proc_entry("kobox_once", NULL);
#endif
}

module_init(once_init);
module_exit(once_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Loads once");
