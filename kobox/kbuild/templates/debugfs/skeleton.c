// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: files in debugfs, under /sys/kernel/debug/skeleton.
 *
 * debugfs is for developers: no stable format, root only, and nothing may
 * depend on it. So its functions' errors are not even checked.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/seq_file.h>

static struct dentry *skeleton_dir;

/* Plain variables need no code at all. */
static u32 limit = 100;
static bool verbose;
static u64 loaded_at;

/* What is worked out when read: show() and DEFINE_SHOW_ATTRIBUTE. */
static int summary_show(struct seq_file *seq, void *unused)
{
	seq_printf(seq, "limit %u, %s\n", limit, verbose ? "verbose" : "quiet");
	if (verbose)
		seq_printf(seq, "loaded at %llu ns\n", loaded_at);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(summary);

/* A number with code behind it: get, set, and how to print it. */
static int doubled_get(void *data, u64 *value)
{
	*value = 2ULL * limit;
	return 0;
}

static int doubled_set(void *data, u64 value)
{
	if (value & 1)
		return -EINVAL;
	limit = value / 2;
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(doubled_fops, doubled_get, doubled_set, "%llu\n");

static int __init skeleton_init(void)
{
	loaded_at = ktime_get_ns();
	skeleton_dir = debugfs_create_dir("skeleton", NULL);
	debugfs_create_u32("limit", 0644, skeleton_dir, &limit);
	debugfs_create_bool("verbose", 0644, skeleton_dir, &verbose);
	debugfs_create_file("summary", 0444, skeleton_dir, NULL, &summary_fops);
	debugfs_create_file_unsafe("doubled", 0644, skeleton_dir, NULL,
				   &doubled_fops);
	return 0;
}

static void __exit skeleton_exit(void)
{
	debugfs_remove(skeleton_dir);	/* with all that is in it */
}

module_init(skeleton_init);
module_exit(skeleton_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Files in debugfs");
