// SPDX-License-Identifier: GPL-2.0
/* Files in procfs (seq_file and plain), sysfs (a kobject with attributes) and debugfs. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/debugfs.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/sysfs.h>

static int level = 3;
static u32 counter = 17;
static struct kobject *entries_kobj;
static struct dentry *entries_dir;

static void *entries_start(struct seq_file *seq, loff_t *at)
{
	return *at < 3000 ? at : NULL;
}

static void *entries_next(struct seq_file *seq, void *v, loff_t *at)
{
	return ++*at < 3000 ? at : NULL;
}

static void entries_stop(struct seq_file *seq, void *v)
{
}

static int entries_show(struct seq_file *seq, void *v)
{
	seq_printf(seq, "line %lld\n", *(loff_t *)v);
	return 0;
}

static const struct seq_operations entries_seq = {
	.start = entries_start,
	.next = entries_next,
	.stop = entries_stop,
	.show = entries_show,
};

static ssize_t level_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", level);
}

static ssize_t level_store(struct kobject *kobj, struct kobj_attribute *attr, const char *buf, size_t count)
{
	int error = kstrtoint(buf, 0, &level);

	return error ?: count;
}
static struct kobj_attribute level_attribute = __ATTR_RW(level);

static int __init entries_init(void)
{
	int error;

	if (!proc_create_seq("entries", 0444, NULL, &entries_seq))
		return -ENOMEM;
	entries_kobj = kobject_create_and_add("entries", kernel_kobj);
	if (!entries_kobj) {
		error = -ENOMEM;
		goto remove_proc;
	}
	error = sysfs_create_file(entries_kobj, &level_attribute.attr);
	if (error)
		goto put;
	entries_dir = debugfs_create_dir("entries", NULL);
	debugfs_create_u32("counter", 0644, entries_dir, &counter);
	return 0;

put:
	kobject_put(entries_kobj);
remove_proc:
	remove_proc_entry("entries", NULL);
	return error;
}

static void __exit entries_exit(void)
{
	debugfs_remove_recursive(entries_dir);
	kobject_put(entries_kobj);
	remove_proc_entry("entries", NULL);
}

module_init(entries_init);
module_exit(entries_exit);
MODULE_LICENSE("GPL");
