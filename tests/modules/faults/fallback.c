// SPDX-License-Identifier: GPL-2.0
/* What it does when the first allocation fails goes wrong when the second fails too. */
#include <linux/module.h>
#include <linux/slab.h>

static char *buffer;

static int __init fallback_init(void)
{
	buffer = kmalloc(8192, GFP_KERNEL);
	if (!buffer) {
		buffer = kmalloc(64, GFP_KERNEL);
#ifdef RIGHT
		if (!buffer)
			return -ENOMEM;
#endif
	}
	buffer[0] = 1;
	return 0;
}

static void __exit fallback_exit(void)
{
	kfree(buffer);
}

module_init(fallback_init);
module_exit(fallback_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Goes wrong at the second failure");
