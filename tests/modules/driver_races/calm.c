// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* Three devices of which nothing is wrong that a schedule of two calls could show. */
static int count;
static ssize_t irq_write(struct file *f, const char __user *u, size_t n, loff_t *p)
{
	unsigned long flags;

	local_irq_save(flags); /* keeps no other CPU out: a note */
	if (count > 1000) {
		local_irq_restore(flags);
		return -ERANGE;
	}
	count++;
	local_irq_restore(flags);
	return n;
}
static const struct file_operations irq_fops = { .owner = THIS_MODULE, .write = irq_write };
static struct miscdevice irq_dev = { .minor = MISC_DYNAMIC_MINOR, .name = "calmirq", .fops = &irq_fops };

struct message { u32 length; u8 data[]; };
static u8 box[128];
static long copy_ioctl(struct file *f, unsigned int request, unsigned long argument)
{
	struct message __user *user = (void __user *)argument;
	struct message *m;
	u32 length;

	if (get_user(length, &user->length))
		return -EFAULT;
	if (length > sizeof(box))
		return -EINVAL;
	m = kmalloc(sizeof(*m) + length, GFP_KERNEL); /* beside that of another call, in the same slab */
	if (!m)
		return -ENOMEM;
	if (copy_from_user(m, user, sizeof(*m) + length)) {
		kfree(m);
		return -EFAULT;
	}
	kfree(m);
	return 0;
}
static const struct file_operations copy_fops = { .owner = THIS_MODULE, .unlocked_ioctl = copy_ioctl };
static struct miscdevice copy_dev = { .minor = MISC_DYNAMIC_MINOR, .name = "calmcopy", .fops = &copy_fops };

static DECLARE_WAIT_QUEUE_HEAD(queue);
static int ready; /* set and cleared: the last one wins, as in either order */
static ssize_t flag_read(struct file *f, char __user *u, size_t n, loff_t *p)
{
	DECLARE_WAITQUEUE(wait, current);

	add_wait_queue(&queue, &wait);
	set_current_state(TASK_INTERRUPTIBLE);
	if (!ready)
		schedule_timeout(HZ / 10);
	__set_current_state(TASK_RUNNING);
	ready = 0;
	remove_wait_queue(&queue, &wait);
	return 0;
}
static ssize_t flag_write(struct file *f, const char __user *u, size_t n, loff_t *p)
{
	ready = 1;
	wake_up_interruptible(&queue);
	return n;
}
static const struct file_operations flag_fops = { .owner = THIS_MODULE, .read = flag_read, .write = flag_write };
static struct miscdevice flag_dev = { .minor = MISC_DYNAMIC_MINOR, .name = "calmflag", .fops = &flag_fops };

static int __init calm_init(void) { return misc_register(&irq_dev) ?: misc_register(&copy_dev) ?: misc_register(&flag_dev); }
static void __exit calm_exit(void)
{
	misc_deregister(&flag_dev);
	misc_deregister(&copy_dev);
	misc_deregister(&irq_dev);
}
module_init(calm_init);
module_exit(calm_exit);
