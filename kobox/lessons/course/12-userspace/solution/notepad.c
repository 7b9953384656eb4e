#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/uaccess.h>

#define ROOM 64

static char note[ROOM];
static size_t length;
static DEFINE_MUTEX(lock);

static ssize_t notepad_read(struct file *file, char __user *to, size_t count, loff_t *at)
{
	ssize_t ret;

	mutex_lock(&lock);
	ret = simple_read_from_buffer(to, count, at, note, length);
	mutex_unlock(&lock);
	return ret;
}

static ssize_t notepad_write(struct file *file, const char __user *from, size_t count, loff_t *at)
{
	char fresh[ROOM];

	if (count > sizeof(fresh))
		return -ENOSPC;
	if (copy_from_user(fresh, from, count))
		return -EFAULT;
	mutex_lock(&lock);
	memcpy(note, fresh, count);
	length = count;
	mutex_unlock(&lock);
	return count;
}

static const struct file_operations notepad_fops = {
	.owner = THIS_MODULE,
	.read = notepad_read,
	.write = notepad_write,
};

static struct miscdevice notepad_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "notepad",
	.fops = &notepad_fops,
};

static int __init notepad_init(void)
{
	return misc_register(&notepad_device);
}

static void __exit notepad_exit(void)
{
	misc_deregister(&notepad_device);
}

module_init(notepad_init);
module_exit(notepad_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Keeps a note");
