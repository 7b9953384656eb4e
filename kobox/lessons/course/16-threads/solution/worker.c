#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>

static int rounds;
module_param(rounds, int, 0444);

static struct task_struct *thread;

static int worker_run(void *unused)
{
	while (!kthread_should_stop()) {
		rounds++;
		msleep_interruptible(100);
	}
	return 0;
}

static int __init worker_init(void)
{
	thread = kthread_run(worker_run, NULL, "busybee");
	return PTR_ERR_OR_ZERO(thread);
}

static void __exit worker_exit(void)
{
	kthread_stop(thread);
}

module_init(worker_init);
module_exit(worker_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Has a thread");
