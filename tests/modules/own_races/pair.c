// SPDX-License-Identifier: GPL-2.0
/* Two threads that init starts and stops add to one sum. */
#include "own.h"

static DEFINE_SPINLOCK(guard);
static unsigned long sum;
static int add(void *by)
{
	int n;

	for (n = 0; n < 20; n++) {
		IF_RIGHT(spin_lock(&guard));
		sum += (long)by; /* the race */
		IF_RIGHT(spin_unlock(&guard));
		usleep_range(50, 80);
	}
	while (!kthread_should_stop())
		msleep(1);
	return 0;
}
static int __init start(void)
{
	struct task_struct *threads[2];
	int n;

	(void)&guard;
	for (n = 0; n < 2; n++)
		threads[n] = kthread_run(add, (void *)(n + 1L), "pair/%d", n);
	msleep(10);
	for (n = 0; n < 2; n++)
		if (!IS_ERR(threads[n]))
			kthread_stop(threads[n]);
	pr_info("pair: the sum is %lu\n", sum);
	return 0;
}
static void __exit stop(void) { }
module_init(start);
module_exit(stop);
