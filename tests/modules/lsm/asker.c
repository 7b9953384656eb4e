// SPDX-License-Identifier: GPL-2.0
/* A security hook that nobody has asked for (until 6.11: lists of functions). For boxes only. */
#include <asm/special_insns.h>
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/lsm_hooks.h>
#include <linux/module.h>
#include <linux/rculist.h>

/* The kernel asks it before a file is opened. */
static int opens(struct file *file)
{
	return 0;
}

static struct security_hook_list asked = { .hook.file_open = opens, .lsm = "waiter" };

static void write_protect(bool on)
{
	unsigned long cr0 = read_cr0();

	cr0 = on ? cr0 | X86_CR0_WP : cr0 & ~X86_CR0_WP;
	asm volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
}

static int ask(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	struct security_hook_heads *heads;
	int error = register_kprobe(&probe);

	if (error)
		return error;
	heads = (void *)((unsigned long (*)(const char *))probe.addr)("security_hook_heads");
	unregister_kprobe(&probe);
	if (!heads)
		return -ENOENT;
	write_protect(false);
	hlist_add_tail_rcu(&asked.list, &heads->file_open);
	write_protect(true);
	return 0;
}

static int __init asker_init(void)
{
	return ask();
}

static void __exit asker_exit(void)
{
	write_protect(false);
	hlist_del_rcu(&asked.list);
	write_protect(true);
}

module_init(asker_init);
module_exit(asker_exit);
MODULE_LICENSE("GPL");
