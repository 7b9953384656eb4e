// SPDX-License-Identifier: GPL-2.0
/* A device whose costs are known: each write of n bytes compares every byte with every other one. */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/uaccess.h>

#define MOST 4096

static bool loud;
module_param(loud, bool, 0444);
MODULE_PARM_DESC(loud, "write a log line for each write");

static int pieces = 1;
module_param(pieces, int, 0444);
MODULE_PARM_DESC(pieces, "how many buffers a write is copied into");

static u64 equal;
static struct timer_list timer;
static unsigned int ticks;

static unsigned int count_equal(const u8 *data, size_t n)
{
	unsigned int found = 0;
	size_t a, b;

	for (a = 0; a < n; a++)
		for (b = 0; b < n; b++)
			found += data[a] == data[b];
	return found;
}

static noinline u64 descend(int depth)
{
	volatile u8 room[1024];

	room[0] = depth;
	return depth ? descend(depth - 1) + room[0] : room[0];
}

static ssize_t tally_write(struct file *file, const char __user *from, size_t n, loff_t *at)
{
	int piece;

	n = min_t(size_t, n, MOST);
	for (piece = 0; piece < pieces; piece++) {
		u8 *data = kmalloc(MOST, GFP_KERNEL);

		if (!data)
			return -ENOMEM;
		if (copy_from_user(data, from, n)) {
			kfree(data);
			return -EFAULT;
		}
		if (!piece)
			equal += count_equal(data, n);
		kfree(data);
	}
	if (loud)
		pr_info("tally: %zu bytes\n", n);
	return n;
}

static ssize_t tally_read(struct file *file, char __user *to, size_t n, loff_t *at)
{
	return descend(9) ? 0 : -EIO;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.write = tally_write,
	.read = tally_read,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "tally",
	.fops = &operations,
	.mode = 0666,
};

static void tick(struct timer_list *t)
{
	if (++ticks < 5)
		mod_timer(&timer, jiffies + HZ / 10);
}

static int __init tally_init(void)
{
	timer_setup(&timer, tick, 0);
	mod_timer(&timer, jiffies + HZ / 10);
	return misc_register(&device);
}

#include <linux/version.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define timer_delete del_timer
#endif

static void __exit tally_exit(void)
{
	misc_deregister(&device);
	while (timer_pending(&timer))
		timer_delete(&timer);
}

module_init(tally_init);
module_exit(tally_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A device whose costs are known");
