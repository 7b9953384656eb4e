// SPDX-License-Identifier: GPL-2.0-or-later
/* A note that is used after it was freed: "drop" forgets to clear the pointer. */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

struct note {
	char text[256];
	unsigned long length;
	char author[64];
};

static struct note *note;

static noinline void make_note(const char *text)
{
	note = kzalloc(sizeof(*note), GFP_KERNEL);
	if (!note)
		return;
	strscpy(note->text, text, sizeof(note->text));
	note->length = strlen(text);
}

static noinline void drop_note(void)
{
	kfree(note);
}

static noinline void show_note(void)
{
	pr_info("notes: %lu characters\n", note->length);
}

static ssize_t notes_write(struct file *file, const char __user *from, size_t count, loff_t *at)
{
	char text[16] = "";

	if (copy_from_user(text, from, min(count, sizeof(text) - 1)))
		return -EFAULT;
	if (!strcmp(text, "drop"))
		drop_note();
	else if (!strcmp(text, "show"))
		show_note();
	else
		make_note(text);
	return count;
}

static const struct file_operations notes_fops = {
	.owner = THIS_MODULE,
	.write = notes_write,
};
static struct miscdevice notes_device = { .minor = MISC_DYNAMIC_MINOR, .name = "notes", .fops = &notes_fops };

module_misc_device(notes_device);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A use after free, to be found backwards");
