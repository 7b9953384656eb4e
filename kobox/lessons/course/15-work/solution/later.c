#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/workqueue.h>

static void later_work(struct work_struct *unused)
{
	pr_info("done\n");
}
static DECLARE_DELAYED_WORK(work, later_work);

static int __init later_init(void)
{
	pr_info("begun\n");
	schedule_delayed_work(&work, HZ / 2);
	return 0;
}

static void __exit later_exit(void)
{
	cancel_delayed_work_sync(&work);
}

module_init(later_init);
module_exit(later_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Does something later");
