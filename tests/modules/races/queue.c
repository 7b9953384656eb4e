// SPDX-License-Identifier: GPL-2.0
/* Entries are added to a list without its lock. */
#include "device.h"

struct entry { struct list_head link; size_t size; };
static LIST_HEAD(entries);
static ssize_t on_write(struct file *f, const char __user *u, size_t n, loff_t *pos)
{
	struct entry *entry = kzalloc(sizeof(*entry), GFP_KERNEL);

	if (!entry)
		return -ENOMEM;
	entry->size = n;
	LOCK();
	list_add_tail(&entry->link, &entries); /* the race */
	UNLOCK();
	return n;
}
DEVICE("kobox_queue", .write = on_write);
static int __init start(void) { return misc_register(&device); }
static void __exit stop(void)
{
	struct entry *entry, *next;

	misc_deregister(&device);
	list_for_each_entry_safe(entry, next, &entries, link)
		kfree(entry);
}
module_init(start);
module_exit(stop);
