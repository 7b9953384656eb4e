// SPDX-License-Identifier: GPL-2.0
// One module, many verdicts: `what` is done in init, and undone in exit unless `leave` is set.
#include <linux/cdev.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/kobject.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/sysctl.h>
#include <linux/workqueue.h>
#include <net/genetlink.h>

static char *what = "";
module_param(what, charp, 0444);
static bool leave;
module_param(leave, bool, 0600);
static bool writeonly;
module_param(writeonly, bool, 0200);
static int noted(const char *text, const struct kernel_param *kp) { return 0; }
static const struct kernel_param_ops noted_ops = { .set = noted };
module_param_cb(noted, &noted_ops, NULL, 0644);

static bool is(const char *name) { return !strcmp(what, name); }

static int nothing(struct kprobe *p, struct pt_regs *regs) { return 0; }
static struct kprobe probe = { .symbol_name = "no_such_function_here", .pre_handler = nothing };
static struct kprobe good_probe = { .symbol_name = "ksys_read", .pre_handler = nothing };

static noinline int nested(void)
{
	int error = register_kprobe(&probe); /* the nested call */

	if (error)
		return error;
	return 0;
}

static noinline int last(void) { return register_kprobe(&probe); /* the last call */ }

static struct platform_device releaseless = { .name = "releaseless", .id = -1 };
static dev_t numbers;
static struct proc_dir_entry *directory;
static struct dentry *dentry;
static struct kobject *kobject;
static struct task_struct *thread;
static struct workqueue_struct *queue;
static struct ctl_table_header *table;
static int setting;
static struct ctl_table settings[] = {
	{ .procname = "verdict_setting", .data = &setting, .maxlen = sizeof(int), .mode = 0644, .proc_handler = proc_dointvec },
	{ }
};
static struct genl_family family = { .name = "verdict_genl", .version = 1, .module = THIS_MODULE };
static struct file_system_type filesystem = { .name = "verdictfs", .owner = THIS_MODULE };

static int sleeps(void *data)
{
	while (!kthread_should_stop())
		schedule_timeout_interruptible(HZ);
	return 0;
}

static int make(void)
{
	if (is("numbers"))
		return alloc_chrdev_region(&numbers, 0, 1, "verdict_numbers");
	if (is("proc"))
		return (directory = proc_mkdir("driver/verdict_dir", NULL)) ? 0 : -ENOMEM;
	if (is("debugfs"))
	{
		dentry = debugfs_create_dir("verdict_dir", NULL);
		return PTR_ERR_OR_ZERO(dentry);
	}
	return 0;
}

static int __init verdict_init(void)
{
	int error;

	if (is("positive"))
		return 7;
	if (is("call")) {
		error = register_kprobe(&probe); /* the call */
		if (error < 0)
			pr_err("register_kprobe failed, returned %d\n", error);
		return error;
	}
	if (is("nested"))
		return nested();
	if (is("last"))
		return last();
	if (is("own"))
		return -EKEYREJECTED;
	if (is("alert"))
		pr_alert("verdict: hello at the level of an alert\n");
	if (is("loud"))
		printk("verdict: %s without a level\n", what);
	if (is("null"))
		*(volatile int *)0x28 = 1; /* the bad access */
	if (is("warn"))
		WARN(1, "verdict: this is why\n"); /* the warning */
	if (is("release"))
		return platform_device_register(&releaseless);
	if (is("kobject"))
		return (kobject = kobject_create_and_add("verdict_kobject", kernel_kobj)) ? 0 : -ENOMEM;
	if (is("thread"))
		return PTR_ERR_OR_ZERO(thread = kthread_run(sleeps, NULL, "verdict_thread"));
	if (is("queue"))
		return (queue = alloc_workqueue("verdict_queue", 0, 0)) ? 0 : -ENOMEM;
	if (is("sysctl"))
		return (table = register_sysctl("kernel", settings)) ? 0 : -ENOMEM;
	if (is("genl"))
		return genl_register_family(&family);
	if (is("filesystem"))
		return register_filesystem(&filesystem);
	if (is("kprobe"))
		return register_kprobe(&good_probe);
	return make();
}

static void __exit verdict_exit(void)
{
	if (is("exit_null"))
		*(volatile int *)0x38 = 1; /* the bad access of exit */
	if (leave)
		return;
	if (is("release"))
		platform_device_unregister(&releaseless);
	if (is("numbers"))
		unregister_chrdev_region(numbers, 1);
	if (is("proc"))
		proc_remove(directory);
	if (is("debugfs"))
		debugfs_remove(dentry);
	if (is("kobject"))
		kobject_put(kobject);
	if (is("thread"))
		kthread_stop(thread);
	if (is("queue"))
		destroy_workqueue(queue);
	if (is("sysctl"))
		unregister_sysctl_table(table);
	if (is("genl"))
		genl_unregister_family(&family);
	if (is("filesystem"))
		unregister_filesystem(&filesystem);
	if (is("kprobe"))
		unregister_kprobe(&good_probe);
}

module_init(verdict_init);
module_exit(verdict_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Gives kobox run something to judge");
