#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

static const char motto[] = "Simplicity is the ultimate sophistication.\n";

static ssize_t motto_read(struct file *file, char __user *to, size_t count, loff_t *at)
{
	return simple_read_from_buffer(to, count, at, motto, sizeof(motto) - 1);
}

static const struct file_operations motto_fops = {
	.owner = THIS_MODULE,
	.read = motto_read,
};

static struct miscdevice motto_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "motto",
	.fops = &motto_fops,
};

static int __init motto_init(void)
{
	return misc_register(&motto_device);
}

static void __exit motto_exit(void)
{
	misc_deregister(&motto_device);
}

module_init(motto_init);
module_exit(motto_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A device that can be read");
