// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a file in /proc that shows a list, and takes new entries.
 *
 * seq_file does the paging: it calls start, show, next, ... stop for each
 * buffer it fills, so a long list needs no long lock and no big allocation.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#define SKELETON_LINE 64	/* longest entry */
#define SKELETON_MAX 1000	/* most entries: users must not eat all memory */

struct entry {
	struct list_head list;
	char text[SKELETON_LINE];
};

static LIST_HEAD(entries);
static unsigned int count;
static DEFINE_MUTEX(entries_lock);	/* guards both */

static void *skeleton_start(struct seq_file *seq, loff_t *pos)
{
	mutex_lock(&entries_lock);
	return seq_list_start(&entries, *pos);
}

static void *skeleton_next(struct seq_file *seq, void *at, loff_t *pos)
{
	return seq_list_next(at, &entries, pos);
}

static void skeleton_stop(struct seq_file *seq, void *at)
{
	mutex_unlock(&entries_lock);
}

static int skeleton_show(struct seq_file *seq, void *at)
{
	seq_printf(seq, "%s\n", list_entry(at, struct entry, list)->text);
	return 0;
}

static const struct seq_operations skeleton_seq_ops = {
	.start = skeleton_start,
	.next = skeleton_next,
	.stop = skeleton_stop,
	.show = skeleton_show,
};

static int skeleton_open(struct inode *inode, struct file *file)
{
	return seq_open(file, &skeleton_seq_ops);
}

/* Each write() adds one entry. */
static ssize_t skeleton_write(struct file *file, const char __user *from,
			      size_t len, loff_t *pos)
{
	struct entry *new;

	if (len >= SKELETON_LINE)
		return -EINVAL;
	new = kzalloc(sizeof(*new), GFP_KERNEL);
	if (!new)
		return -ENOMEM;
	if (copy_from_user(new->text, from, len)) {
		kfree(new);
		return -EFAULT;
	}
	strim(new->text);

	mutex_lock(&entries_lock);
	if (count >= SKELETON_MAX) {
		mutex_unlock(&entries_lock);
		kfree(new);
		return -ENOSPC;
	}
	count++;
	list_add_tail(&new->list, &entries);
	mutex_unlock(&entries_lock);
	return len;
}

static const struct proc_ops skeleton_proc_ops = {
	.proc_open = skeleton_open,
	.proc_read = seq_read,
	.proc_write = skeleton_write,
	.proc_lseek = seq_lseek,
	.proc_release = seq_release,
};

static int __init skeleton_init(void)
{
	if (!proc_create("skeleton", 0644, NULL, &skeleton_proc_ops))
		return -ENOMEM;
	return 0;
}

static void __exit skeleton_exit(void)
{
	struct entry *at, *next;

	/* First no new readers and writers, and all that are in are out. */
	remove_proc_entry("skeleton", NULL);
	list_for_each_entry_safe(at, next, &entries, list)
		kfree(at);
}

module_init(skeleton_init);
module_exit(skeleton_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A file in /proc that shows a list");
