// SPDX-License-Identifier: GPL-2.0-or-later
/* A device that keeps one note. It works, and three things in it are wrong. */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

static char *note;

static ssize_t notes_write(struct file *file, const char __user *from, size_t count, loff_t *at)
{
	kfree(note);
	note = kmalloc(count, GFP_KERNEL);
	if (!note)
		return -ENOMEM;
	if (copy_from_user(note, from, count))
		return -EFAULT;
	note[count] = '\0';
	return count;
}

static ssize_t notes_read(struct file *file, char __user *to, size_t count, loff_t *at)
{
	return note ? simple_read_from_buffer(to, count, at, note, strlen(note)) : 0;
}

static const struct file_operations notes_fops = {
	.owner = THIS_MODULE,
	.read = notes_read,
	.write = notes_write,
};

static struct miscdevice notes_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "notes",
	.fops = &notes_fops,
};
module_misc_device(notes_device);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Keeps one note");
