// SPDX-License-Identifier: GPL-2.0
// A livepatch: it is in use until it is disabled.
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

static int patched(struct seq_file *m, void *v)
{
	seq_puts(m, "this has been live patched\n");
	return 0;
}

static struct klp_func functions[] = { { .old_name = "cmdline_proc_show", .new_func = patched }, { } };
static struct klp_object objects[] = { { .funcs = functions }, { } };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init live_init(void) { return klp_enable_patch(&patch); }
static void __exit live_exit(void) { }
module_init(live_init);
module_exit(live_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
