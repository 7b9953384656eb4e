#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/atomic.h>
#include <linux/uaccess.h>

#define COUNTER_RESET _IO('k', 1)
#define COUNTER_GET _IOR('k', 2, int)
#define COUNTER_ADD _IOW('k', 3, int)

static atomic_t counter = ATOMIC_INIT(0);

static long counter_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	int __user *place = (int __user *)argument;
	int value;

	switch (command) {
	case COUNTER_RESET:
		atomic_set(&counter, 0);
		return 0;
	case COUNTER_ADD:
		if (get_user(value, place))
			return -EFAULT;
		atomic_add(value, &counter);
		return 0;
	case COUNTER_GET:
		return put_user(atomic_read(&counter), place);
	}
	return -ENOTTY;
}

static const struct file_operations counter_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = counter_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice counter_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "counter",
	.fops = &counter_fops,
};

static int counter_set(const char *text, const struct kernel_param *param)
{
	return -EPERM;
}

static int counter_get(char *text, const struct kernel_param *param)
{
	return sysfs_emit(text, "%d\n", atomic_read(&counter));
}

static const struct kernel_param_ops counter_ops = { .set = counter_set, .get = counter_get };
module_param_cb(value, &counter_ops, NULL, 0444);

static int __init counter_init(void)
{
	return misc_register(&counter_device);
}

static void __exit counter_exit(void)
{
	misc_deregister(&counter_device);
}

module_init(counter_init);
module_exit(counter_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Counts by ioctl");
