#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

static DECLARE_WAIT_QUEUE_HEAD(queue);
static bool rung;

static ssize_t bell_read(struct file *file, char __user *to, size_t count, loff_t *at)
{
	if (wait_event_interruptible(queue, xchg(&rung, false)))
		return -ERESTARTSYS;
	*at = 0;
	return simple_read_from_buffer(to, count, at, "ring\n", 5);
}

static ssize_t bell_write(struct file *file, const char __user *from, size_t count, loff_t *at)
{
	rung = true;
	wake_up_interruptible(&queue);
	return count;
}

static const struct file_operations bell_fops = {
	.owner = THIS_MODULE,
	.read = bell_read,
	.write = bell_write,
};

static struct miscdevice bell_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "bell",
	.fops = &bell_fops,
};

static int __init bell_init(void)
{
	return misc_register(&bell_device);
}

static void __exit bell_exit(void)
{
	misc_deregister(&bell_device);
}

module_init(bell_init);
module_exit(bell_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Wakes who waits");
