// SPDX-License-Identifier: GPL-2.0-or-later
/* A journal to debug: writes add entries; a word of more than eight letters follows a NULL pointer. */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

struct entry {
	struct list_head list;
	int number;
	char word[16];
};

static LIST_HEAD(entries);
static int written;
static struct entry *last;

static noinline int add_entry(const char *word)
{
	struct entry *entry = kzalloc(sizeof(*entry), GFP_KERNEL);

	if (!entry)
		return -ENOMEM;
	entry->number = ++written;
	strscpy(entry->word, word, sizeof(entry->word));
	list_add_tail(&entry->list, &entries);
	last = entry;
	return entry->number;
}

static ssize_t journal_write(struct file *file, const char __user *from, size_t count, loff_t *at)
{
	struct entry *volatile target = last;
	char word[16] = "";
	int number;

	if (copy_from_user(word, from, min(count, sizeof(word) - 1)))
		return -EFAULT;
	if (count > 8) {
		target = NULL;
		target->number = 0;
	}
	number = add_entry(word);
	return number < 0 ? number : count;
}

static const struct file_operations journal_fops = {
	.owner = THIS_MODULE,
	.write = journal_write,
};

static struct miscdevice journal_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "journal",
	.fops = &journal_fops,
};

static int __init journal_init(void)
{
	return misc_register(&journal_device);
}

static void __exit journal_exit(void)
{
	struct entry *entry, *next;

	misc_deregister(&journal_device);
	list_for_each_entry_safe(entry, next, &entries, list)
		kfree(entry);
}

module_init(journal_init);
module_exit(journal_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A journal to debug");
