// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A writer uses a seqlock, the reader does not ask it. */
static DEFINE_SEQLOCK(sl);
static u64 lo, hi;
static ssize_t s_write(struct file *f, const char __user *u, size_t n, loff_t *o)
{
	write_seqlock(&sl);
	lo++;
	hi--;
	write_sequnlock(&sl);
	return n;
}
static ssize_t s_read(struct file *f, char __user *u, size_t n, loff_t *o)
{
	u64 v[2];
	IF_RIGHT(unsigned int seq;
	do { seq = read_seqbegin(&sl);)
	v[0] = lo;
	v[1] = hi; /* the race */
	IF_RIGHT(} while (read_seqretry(&sl, seq));)
	if (n < sizeof(v)) return -EINVAL;
	return copy_to_user(u, v, sizeof(v)) ? -EFAULT : sizeof(v);
}
MISC("seqmiss", .write = s_write, .read = s_read);
module_misc_device(device);
