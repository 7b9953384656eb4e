// SPDX-License-Identifier: GPL-2.0
/* One notifier in each chain of the kernel's own; `leave` names one that it forgets. */
#include <linux/crypto.h>
#include <linux/inetdevice.h>
#include <linux/kdebug.h>
#include <linux/keyboard.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/netlink.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/panic_notifier.h>
#include <linux/reboot.h>
#include <linux/suspend.h>
#include <linux/vt_kern.h>
#include <crypto/algapi.h>
#include <net/addrconf.h>
#include <net/netevent.h>

static char *leave = "";
module_param(leave, charp, 0);

static int panic_add(struct notifier_block *block)
{
	return atomic_notifier_chain_register(&panic_notifier_list, block);
}

static int panic_remove(struct notifier_block *block)
{
	return atomic_notifier_chain_unregister(&panic_notifier_list, block);
}

static int called(struct notifier_block *block, unsigned long event, void *data)
{
	return NOTIFY_DONE;
}

static struct chain {
	const char *name;
	int (*add)(struct notifier_block *block);
	int (*remove)(struct notifier_block *block);
	struct notifier_block block;
} chains[] = {
	{ "reboot_notifier_list", register_reboot_notifier, unregister_reboot_notifier },
	{ "module_notify_list", register_module_notifier, unregister_module_notifier },
	{ "inetaddr_chain", register_inetaddr_notifier, unregister_inetaddr_notifier },
	{ "pm_chain_head", register_pm_notifier, unregister_pm_notifier },
	{ "oom_notify_list", register_oom_notifier, unregister_oom_notifier },
	{ "netlink_chain", netlink_register_notifier, netlink_unregister_notifier },
	{ "crypto_chain", crypto_register_notifier, crypto_unregister_notifier },
	{ "panic_notifier_list", panic_add, panic_remove },
	{ "die_chain", register_die_notifier, unregister_die_notifier },
	{ "inet6addr_chain", register_inet6addr_notifier, unregister_inet6addr_notifier },
	{ "netevent_notif_chain", register_netevent_notifier, unregister_netevent_notifier },
	{ "keyboard_notifier_list", register_keyboard_notifier, unregister_keyboard_notifier },
	{ "vt_notifier_list", register_vt_notifier, unregister_vt_notifier },
	{ "netdev_chain", register_netdevice_notifier, unregister_netdevice_notifier },
};

static int __init chains_init(void)
{
	int i, error;

	for (i = 0; i < ARRAY_SIZE(chains); i++) {
		chains[i].block.notifier_call = called;
		error = chains[i].add(&chains[i].block);
		if (error) {
			pr_err("chains: %s: %d\n", chains[i].name, error);
			while (i--)
				chains[i].remove(&chains[i].block);
			return error;
		}
	}
	return 0;
}

static void __exit chains_exit(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(chains); i++)
		if (strcmp(chains[i].name, leave))
			chains[i].remove(&chains[i].block);
}

module_init(chains_init);
module_exit(chains_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A notifier in each chain of the kernel's own");
