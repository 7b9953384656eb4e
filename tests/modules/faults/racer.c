// SPDX-License-Identifier: GPL-2.0
/* Two writers at once free one buffer twice; a reader may find it freed. */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

static char *message;
static size_t length;
static DEFINE_MUTEX(lock);

#ifdef RIGHT
#define LOCK mutex_lock(&lock)
#define UNLOCK mutex_unlock(&lock)
#else
#define LOCK ((void)lock)
#define UNLOCK ((void)lock)
#endif

static ssize_t racer_write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
	char *new, *old;

	count = min_t(size_t, count, 256);
	new = memdup_user(from, count);
	if (IS_ERR(new))
		return PTR_ERR(new);
	LOCK;
	old = message;
	message = new;
	length = count;
	UNLOCK;
	kfree(old);
	return count;
}

static ssize_t racer_read(struct file *file, char __user *to, size_t count, loff_t *pos)
{
	ssize_t done;

	LOCK;
	done = simple_read_from_buffer(to, count, pos, message, length);
	UNLOCK;
	return done;
}

static const struct file_operations racer_fops = {
	.owner = THIS_MODULE,
	.read = racer_read,
	.write = racer_write,
	.llseek = default_llseek,
};

static struct miscdevice racer = { .minor = MISC_DYNAMIC_MINOR, .name = "racer", .fops = &racer_fops };

static int __init racer_init(void)
{
	return misc_register(&racer);
}

static void __exit racer_exit(void)
{
	misc_deregister(&racer);
	kfree(message);
}

module_init(racer_init);
module_exit(racer_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Reads and writes without a lock");
