#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>

#define ROUNDS 200

static int total;
module_param(total, int, 0444);

static struct task_struct *threads[2];
static DEFINE_MUTEX(lock);

static int bank_run(void *unused)
{
	int i, seen;

	for (i = 0; i < ROUNDS; i++) {
		seen = total;
		usleep_range(1000, 1100); /* the work of a teller */
		total = seen + 1;
	}
	while (!kthread_should_stop())
		msleep_interruptible(10);
	return 0;
}

static int __init bank_init(void)
{
	int i;

	pr_debug("lock at %p\n", &lock);
	for (i = 0; i < ARRAY_SIZE(threads); i++) {
		threads[i] = kthread_run(bank_run, NULL, "teller%d", i);
		if (IS_ERR(threads[i])) {
			int ret = PTR_ERR(threads[i]);

			while (i--)
				kthread_stop(threads[i]);
			return ret;
		}
	}
	return 0;
}

static void __exit bank_exit(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(threads); i++)
		kthread_stop(threads[i]);
}

module_init(bank_init);
module_exit(bank_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Two threads, one account");
