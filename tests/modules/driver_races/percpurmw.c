// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A CPU's own variable is changed where the task may be moved to another CPU. */
static DEFINE_PER_CPU(u64, hits);
static ssize_t p_write(struct file *f, const char __user *u, size_t n, loff_t *o)
{
	u64 *p, v;
	IF_RIGHT(p = get_cpu_ptr(&hits);)
	IF_WRONG(p = raw_cpu_ptr(&hits);)
	v = *p;
	IF_WRONG(cpu_relax();)
	barrier();
	*p = v + n; /* the race */
	IF_RIGHT(put_cpu_ptr(&hits);)
	return n;
}
static ssize_t p_read(struct file *f, char __user *u, size_t n, loff_t *o)
{
	u64 sum = 0; int cpu;
	for_each_possible_cpu(cpu) sum += READ_ONCE(per_cpu(hits, cpu));
	return n < 8 ? -EINVAL : copy_to_user(u, &sum, 8) ? -EFAULT : 8;
}
MISC("percpurmw", .write = p_write, .read = p_read);
module_misc_device(device);
