// SPDX-License-Identifier: GPL-2.0
/* Each thread counts in its CPU's own counter, and now and then one of them in that of the other. */
#include "own.h"

static DEFINE_PER_CPU(unsigned long, hits);
static struct task_struct *threads[2];
static int count(void *number)
{
	int n;

	for (n = 0; !kthread_should_stop(); n++) {
		preempt_disable();
		IF_WRONG(if (number && n % 4 == 3) (*per_cpu_ptr(&hits, 0))++;) /* the race */
		__this_cpu_inc(hits);
		preempt_enable();
		usleep_range(100, 150);
	}
	return 0;
}
static int __init start(void)
{
	long n;

	for (n = 0; n < 2; n++) {
		threads[n] = kthread_create(count, (void *)n, "crosscpu/%ld", n);
		if (IS_ERR(threads[n]))
			continue;
		kthread_bind(threads[n], n % num_online_cpus());
		wake_up_process(threads[n]);
	}
	return 0;
}
static void __exit stop(void)
{
	unsigned long sum = 0;
	int n;

	for (n = 0; n < 2; n++)
		if (!IS_ERR(threads[n]))
			kthread_stop(threads[n]);
	for_each_possible_cpu(n)
		sum += per_cpu(hits, n);
	pr_info("crosscpu: %lu\n", sum);
}
module_init(start);
module_exit(stop);
