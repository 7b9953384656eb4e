#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static int __init procfile_init(void)
{
	return 0;
}

static void __exit procfile_exit(void)
{
}

module_init(procfile_init);
module_exit(procfile_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A clock in /proc");
