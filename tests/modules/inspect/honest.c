// SPDX-License-Identifier: GPL-2.0
/* The honest version of what hostile modules do: a driver that starts a helper, a filter, a debugger, a threaded driver. */
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/notifier.h>
#include <linux/proc_fs.h>
#include <linux/reboot.h>
#include <linux/umh.h>
#include <net/net_namespace.h>

static char *what = "";
module_param(what, charp, 0);

static int entered(struct kprobe *probe, struct pt_regs *regs)
{
	return 0;
}

static struct kprobe probe = { .symbol_name = "do_exit", .pre_handler = entered };

static unsigned int packet(void *data, struct sk_buff *skb, const struct nf_hook_state *state)
{
	return NF_ACCEPT;
}

static const struct nf_hook_ops hook = { .hook = packet, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_IN };

static int reboots(struct notifier_block *block, unsigned long code, void *data)
{
	return NOTIFY_DONE;
}

static struct notifier_block notifier = { .notifier_call = reboots };

static int works(void *data)
{
	while (!kthread_should_stop())
		schedule_timeout_interruptible(HZ);
	return 0;
}

static struct task_struct *thread;
static const struct file_operations operations = { .owner = THIS_MODULE };
static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = "honest", .fops = &operations };

static int __init honest_init(void)
{
	static char *argv[] = { "/sbin/honest-firmware-helper", "load", NULL };
	static char *environment[] = { "PATH=/sbin:/bin", NULL };
	int error = misc_register(&device);

	if (error)
		return error;
	if (!strcmp(what, "helper")) {
		call_usermodehelper(argv[0], argv, environment, UMH_WAIT_EXEC);
	} else if (!strcmp(what, "filter")) {
		error = nf_register_net_hook(&init_net, &hook);
	} else if (!strcmp(what, "debugger")) {
		error = register_kprobe(&probe);
	} else if (!strcmp(what, "notifier")) {
		error = register_reboot_notifier(&notifier);
	} else if (!strcmp(what, "thread")) {
		thread = kthread_run(works, NULL, "honest");
		error = PTR_ERR_OR_ZERO(thread);
	}
	if (error)
		misc_deregister(&device);
	return error;
}

static void __exit honest_exit(void)
{
	if (!strcmp(what, "filter"))
		nf_unregister_net_hook(&init_net, &hook);
	if (!strcmp(what, "debugger"))
		unregister_kprobe(&probe);
	if (!strcmp(what, "notifier"))
		unregister_reboot_notifier(&notifier);
	if (thread)
		kthread_stop(thread);
	misc_deregister(&device);
}

module_init(honest_init);
module_exit(honest_exit);
MODULE_LICENSE("GPL");
