// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* The exit frees what a file of /proc still shows. */
static char *state;
static ssize_t e_read(struct file *f, char __user *u, size_t n, loff_t *o)
{
	return simple_read_from_buffer(u, n, o, state, 32); /* the race */
}
static const struct proc_ops ops = { .proc_read = e_read, .proc_lseek = default_llseek };
static int __init e_init(void)
{
	state = kzalloc(32, GFP_KERNEL);
	if (!state) return -ENOMEM;
	if (!proc_create("exitorder", 0444, NULL, &ops)) { kfree(state); return -ENOMEM; }
	return 0;
}
static void __exit e_exit(void)
{
	IF_WRONG(kfree(state);) /* the race */
	remove_proc_entry("exitorder", NULL);
	IF_RIGHT(kfree(state);)
}
module_init(e_init); module_exit(e_exit);
