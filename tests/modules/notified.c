// SPDX-License-Identifier: GPL-2.0
/* Notifiers: modules that come and go, network devices that go up and down, and a chain of its own. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/notifier.h>

static BLOCKING_NOTIFIER_HEAD(notified_chain);

static int on_module(struct notifier_block *block, unsigned long event, void *data)
{
	struct module *module = data;

	pr_info("module %s: %s\n", module->name,
		event == MODULE_STATE_COMING ? "coming" : event == MODULE_STATE_GOING ? "going" : "live");
	return NOTIFY_OK;
}

static int on_netdevice(struct notifier_block *block, unsigned long event, void *data)
{
	if (event == NETDEV_UP || event == NETDEV_DOWN)
		pr_info("device %s: %s\n", netdev_notifier_info_to_dev(data)->name, event == NETDEV_UP ? "up" : "down");
	return NOTIFY_OK;
}

static int on_own(struct notifier_block *block, unsigned long event, void *data)
{
	pr_info("own chain: %lu\n", event);
	return NOTIFY_STOP;
}

static struct notifier_block module_block = { .notifier_call = on_module };
static struct notifier_block netdevice_block = { .notifier_call = on_netdevice };
static struct notifier_block own_block = { .notifier_call = on_own };

static int __init notified_init(void)
{
	blocking_notifier_chain_register(&notified_chain, &own_block);
	blocking_notifier_call_chain(&notified_chain, 77, NULL);
	register_module_notifier(&module_block);
	return register_netdevice_notifier(&netdevice_block);
}

static void __exit notified_exit(void)
{
	unregister_netdevice_notifier(&netdevice_block);
	unregister_module_notifier(&module_block);
}

module_init(notified_init);
module_exit(notified_exit);
MODULE_LICENSE("GPL");
