#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>

static int rounds;
module_param(rounds, int, 0444);

static int __init worker_init(void)
{
	return 0;
}

static void __exit worker_exit(void)
{
}

module_init(worker_init);
module_exit(worker_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Has a thread");
