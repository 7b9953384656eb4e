// SPDX-License-Identifier: GPL-2.0-or-later
/* Asks for several modules at once, without waiting for any: as many /sbin/modprobe run side by side. */
#include <linux/init.h>
#include <linux/kmod.h>
#include <linux/module.h>

static int __init requester_init(void)
{
	static const char *const wanted[] = { "dummy", "veth", "nosuchmodule", "ifb", "tun", "loop" };
	int i;

	for (i = 0; i < ARRAY_SIZE(wanted); i++)
		request_module_nowait("%s", wanted[i]);
	return 0;
}

static void __exit requester_exit(void)
{
}

module_init(requester_init);
module_exit(requester_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Asks for modules");
