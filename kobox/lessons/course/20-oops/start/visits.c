#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

struct session {
	int reads;
};

static int visits_open(struct inode *inode, struct file *file)
{
	file->private_data = NULL;
	return 0;
}

static ssize_t visits_read(struct file *file, char __user *to, size_t count, loff_t *at)
{
	struct session *session = file->private_data;
	char text[16];

	session->reads++;
	return simple_read_from_buffer(to, count, at, text, scnprintf(text, sizeof(text), "%d\n", session->reads));
}

static int visits_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static const struct file_operations visits_fops = {
	.owner = THIS_MODULE,
	.open = visits_open,
	.read = visits_read,
	.release = visits_release,
};

static struct miscdevice visits_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "visits",
	.fops = &visits_fops,
};

static int __init visits_init(void)
{
	return misc_register(&visits_device);
}

static void __exit visits_exit(void)
{
	misc_deregister(&visits_device);
}

module_init(visits_init);
module_exit(visits_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Counts reads for each opener");
