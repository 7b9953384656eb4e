// SPDX-License-Identifier: GPL-2.0
/* A kprobe on do_sys_openat2 and a kretprobe that changes nothing but reports what it returned. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/ptrace.h>

static int calls;
module_param(calls, int, 0444);

static long returned;
module_param(returned, long, 0444);

static int before(struct kprobe *p, struct pt_regs *regs)
{
	calls++;
	return 0;
}

static int after(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	returned = regs_return_value(regs);
	return 0;
}

static struct kprobe kprobed_entry = {
	.symbol_name = "do_sys_openat2",
	.pre_handler = before,
};

static struct kretprobe kprobed_return = {
	.kp.symbol_name = "do_sys_openat2",
	.handler = after,
	.maxactive = 4,
};

static int __init kprobed_init(void)
{
	int error = register_kprobe(&kprobed_entry);

	if (error)
		return error;
	error = register_kretprobe(&kprobed_return);
	if (error)
		unregister_kprobe(&kprobed_entry);
	return error;
}

static void __exit kprobed_exit(void)
{
	unregister_kretprobe(&kprobed_return);
	unregister_kprobe(&kprobed_entry);
}

module_init(kprobed_init);
module_exit(kprobed_exit);
MODULE_LICENSE("GPL");
