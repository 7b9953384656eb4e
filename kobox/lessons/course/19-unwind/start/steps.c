#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

static char *table;
static char *names;
static struct proc_dir_entry *entry;

static int steps_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "%s %s\n", table, names);
	return 0;
}

static int __init steps_init(void)
{
	table = kstrdup("table", GFP_KERNEL);
	if (!table)
		return -ENOMEM;
	names = kstrdup("names", GFP_KERNEL);
	if (!names)
		return -ENOMEM;
	entry = proc_create_single("steps", 0444, NULL, steps_show);
	if (!entry)
		return -ENOMEM;
	return 0;
}

static void __exit steps_exit(void)
{
	proc_remove(entry);
	kfree(names);
	kfree(table);
}

module_init(steps_init);
module_exit(steps_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Sets up three things");
