// SPDX-License-Identifier: GPL-2.0
/* A buffer is allocated at its first use; two first users allocate two, and one is lost. */
#include "device.h"

static char *buffer;
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	LOCK();
	if (!buffer)
		buffer = kzalloc(64, GFP_KERNEL); /* the race */
	UNLOCK();
	if (!buffer)
		return -ENOMEM;
	return n;
}
DEVICE("kobox_once", .write = on_write);
static int __init start(void) { return misc_register(&device); }
static void __exit stop(void)
{
	misc_deregister(&device);
	kfree(buffer);
}
module_init(start);
module_exit(stop);
