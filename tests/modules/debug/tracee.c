// SPDX-License-Identifier: GPL-2.0-or-later
/* Calls of every kind, to trace: types of arguments, pointers to functions, tail calls, timers, recursion, errors. */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define timer_delete_sync del_timer_sync
#endif

static int fail;
module_param(fail, int, 0444);
MODULE_PARM_DESC(fail, "1: no memory for the table; 2: the device's name is taken");

enum colour { RED, GREEN = 7 };
struct shape {
	const char *name;
	enum colour colour;
};

static struct shape square = { "square", GREEN };
static void *table;
static bool late;

static noinline int paint(struct shape *shape, enum colour colour, bool twice, s8 shift, const char *why, u64 wide,
			  int seventh, unsigned short eighth)
{
	barrier();
	return shape->colour == colour ? shift : -EINVAL;
}

static noinline struct shape *find(unsigned int number)
{
	barrier();
	return number ? ERR_PTR(-ENOENT) : &square;
}

static noinline u64 depth_of(int level)
{
	barrier();
	return level > 0 ? depth_of(level - 1) + READ_ONCE(late) + 1 : 0;
}

static noinline size_t jump(const char *text)
{
	return strlen(text); /* a jump, where the compiler can make one */
}

static int (*volatile chosen)(struct shape *, enum colour, bool, s8, const char *, u64, int, unsigned short) = paint;
static size_t (*volatile length)(const char *) = strlen;

static void on_timer(struct timer_list *timer)
{
	late = true;
}
static DEFINE_TIMER(timer, on_timer);

static void on_work(struct work_struct *work)
{
	msleep(20);
}
static DECLARE_WORK(work, on_work);

static ssize_t tracee_write(struct file *file, const char __user *from, size_t count, loff_t *at)
{
	char text[32] = "";

	if (copy_from_user(text, from, min(count, sizeof(text) - 1)))
		return -EFAULT;
	pr_info("tracee: was told %s\n", text);
	return text[0] == 'o' ? *(volatile int *)8 : count;
}

static const struct file_operations tracee_fops = {
	.owner = THIS_MODULE,
	.write = tracee_write,
};
static struct miscdevice first = { .minor = MISC_DYNAMIC_MINOR, .name = "tracee", .fops = &tracee_fops };
static struct miscdevice second = { .minor = MISC_DYNAMIC_MINOR, .name = "tracee", .fops = &tracee_fops };

static noinline int make_table(size_t size)
{
	table = kmalloc(size, GFP_KERNEL | __GFP_NOWARN);
	return table ? 0 : -ENOMEM;
}

static int __init tracee_init(void)
{
	int error = make_table(fail == 1 ? 1UL << 30 : 100);

	if (error)
		return error;
	error = misc_register(&first);
	if (!error && fail == 2) {
		error = misc_register(&second);
		misc_deregister(&first);
	}
	if (error) {
		kfree(table);
		return error;
	}
	chosen(&square, RED, true, -3, "a \"reason\"\n", 1ULL << 63, -7, 8);
	chosen(&square, GREEN, false, -3, NULL, 5, 1 << 30, 65535);
	pr_info("tracee: %ld %llu %zu\n", PTR_ERR(find(1)), depth_of(3), jump("four") + length("five5"));
	find(0);
	mod_timer(&timer, jiffies + 1);
	schedule_work(&work);
	return 0;
}

static void __exit tracee_exit(void)
{
	cancel_work_sync(&work);
	timer_delete_sync(&timer);
	misc_deregister(&first);
	kfree(table);
}

module_init(tracee_init);
module_exit(tracee_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Calls to trace");
