#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static struct proc_dir_entry *entry;

static int procfile_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "%lld\n", ktime_to_ms(ktime_get_boottime()));
	return 0;
}

static int __init procfile_init(void)
{
	entry = proc_create_single("uptime_ms", 0444, NULL, procfile_show);
	return entry ? 0 : -ENOMEM;
}

static void __exit procfile_exit(void)
{
	proc_remove(entry);
}

module_init(procfile_init);
module_exit(procfile_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A clock in /proc");
