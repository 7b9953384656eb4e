// SPDX-License-Identifier: GPL-2.0-or-later
/* The module of the documentation's examples: a greeting, some marks, and a device that answers everything. */
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/uaccess.h>

static char *greeting = "hello";
module_param(greeting, charp, 0644);
MODULE_PARM_DESC(greeting, "what to say");

static int marks[4];
static int nr_marks;
module_param_array(marks, int, &nr_marks, 0444);
MODULE_PARM_DESC(marks, "up to four numbers");

static unsigned long page;

static ssize_t hello_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	return simple_read_from_buffer(to, size, at, greeting, strlen(greeting));
}

static ssize_t hello_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	pr_info("%zu bytes written\n", size);
	return size;
}

static long hello_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	return argument;
}

static int hello_mmap(struct file *file, struct vm_area_struct *vma)
{
	return vm_insert_page(vma, vma->vm_start, virt_to_page((void *)page));
}

static int hello_open(struct inode *inode, struct file *file)
{
	return 0;
}

static const struct file_operations hello_operations = {
	.owner = THIS_MODULE,
	.open = hello_open,
	.read = hello_read,
	.write = hello_write,
	.llseek = default_llseek,
	.unlocked_ioctl = hello_ioctl,
	.mmap = hello_mmap,
};

static struct miscdevice hello_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hello",
	.fops = &hello_operations,
};

static int __init hello_init(void)
{
	int err;

	page = get_zeroed_page(GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	strscpy((char *)page, "a page of the module", PAGE_SIZE);
	err = misc_register(&hello_device);
	if (err) {
		free_page(page);
		return err;
	}
	pr_info("%s\n", greeting);
	return 0;
}

static void __exit hello_exit(void)
{
	misc_deregister(&hello_device);
	free_page(page);
}

module_init(hello_init);
module_exit(hello_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Says hello");
