// SPDX-License-Identifier: GPL-2.0
/* A stack of objects: two calls take the same one off, and both free it. */
#include "device.h"

struct item { struct item *next; };
static struct item *top;
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	struct item *item = kzalloc(sizeof(*item), GFP_KERNEL);

	if (!item)
		return -ENOMEM;
	LOCK();
	item->next = top;
	top = item; /* the race */
	UNLOCK();
	return n;
}
static ssize_t on_read(struct file *f, char __user *u, size_t n, loff_t *pos)
{
	struct item *item;

	LOCK();
	item = top;
	if (item)
		top = item->next; /* the race */
	UNLOCK();
	kfree(item);
	return 0;
}
DEVICE("kobox_stack", .write = on_write, .read = on_read);
static int __init start(void) { return misc_register(&device); }
static void __exit stop(void)
{
	misc_deregister(&device);
	while (top) {
		struct item *item = top;

		top = item->next;
		kfree(item);
	}
}
module_init(start);
module_exit(stop);
