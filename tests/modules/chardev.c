// SPDX-License-Identifier: GPL-2.0
/*
 * A character device through cdev: a page that can be read, written, sought in and mapped, an ioctl, and a
 * queue at /dev/chardev1 whose read blocks until something was written, with poll.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/kfifo.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#define CHARDEV_CLEAR _IO('k', 1)
#define CHARDEV_SUM _IOR('k', 2, u32)
#define CHARDEV_ROTATE _IOWR('k', 3, u64)
#define CHARDEV_VALUE _IO('k', 4)

static dev_t chardev_number;
static struct cdev chardev_page_cdev, chardev_queue_cdev;
static struct class chardev_class = { .name = "chardev" };
static char *chardev_page;
static DEFINE_KFIFO(chardev_fifo, char, 64);
static DECLARE_WAIT_QUEUE_HEAD(chardev_readable);
static DEFINE_MUTEX(chardev_lock);

static ssize_t page_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	return simple_read_from_buffer(to, size, at, chardev_page, PAGE_SIZE);
}

static ssize_t page_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	return simple_write_to_buffer(chardev_page, PAGE_SIZE, at, from, size) ?: -ENOSPC;
}

static loff_t page_llseek(struct file *file, loff_t offset, int whence)
{
	return fixed_size_llseek(file, offset, whence, PAGE_SIZE);
}

static long page_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	u32 sum = 0;
	u64 value;
	int i;

	switch (request) {
	case CHARDEV_CLEAR:
		memset(chardev_page, 0, PAGE_SIZE);
		return 0;
	case CHARDEV_SUM:
		for (i = 0; i < PAGE_SIZE; i++)
			sum += (u8)chardev_page[i];
		return put_user(sum, (u32 __user *)argument);
	case CHARDEV_ROTATE:
		if (get_user(value, (u64 __user *)argument))
			return -EFAULT;
		return put_user(rol64(value, 8), (u64 __user *)argument);
	case CHARDEV_VALUE:
		return argument * 2;
	}
	return -ENOTTY;
}

static int page_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_end - vma->vm_start > PAGE_SIZE || vma->vm_pgoff)
		return -EINVAL;
	return remap_pfn_range(vma, vma->vm_start, virt_to_phys(chardev_page) >> PAGE_SHIFT, PAGE_SIZE,
			       vma->vm_page_prot);
}

static const struct file_operations page_fops = {
	.owner = THIS_MODULE,
	.read = page_read,
	.write = page_write,
	.llseek = page_llseek,
	.unlocked_ioctl = page_ioctl,
	.mmap = page_mmap,
};

static ssize_t queue_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	unsigned int copied;
	int error;

	if (kfifo_is_empty(&chardev_fifo)) {
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(chardev_readable, !kfifo_is_empty(&chardev_fifo)))
			return -ERESTARTSYS;
	}
	mutex_lock(&chardev_lock);
	error = kfifo_to_user(&chardev_fifo, to, size, &copied);
	mutex_unlock(&chardev_lock);
	return error ?: copied;
}

static ssize_t queue_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	unsigned int copied;
	int error;

	mutex_lock(&chardev_lock);
	error = kfifo_from_user(&chardev_fifo, from, size, &copied);
	mutex_unlock(&chardev_lock);
	wake_up_interruptible(&chardev_readable);
	return error ?: copied;
}

static __poll_t queue_poll(struct file *file, poll_table *table)
{
	poll_wait(file, &chardev_readable, table);
	return (kfifo_is_empty(&chardev_fifo) ? 0 : EPOLLIN | EPOLLRDNORM) |
	       (kfifo_is_full(&chardev_fifo) ? 0 : EPOLLOUT | EPOLLWRNORM);
}

static const struct file_operations queue_fops = {
	.owner = THIS_MODULE,
	.read = queue_read,
	.write = queue_write,
	.poll = queue_poll,
};

static int __init chardev_init(void)
{
	int error;

	chardev_page = (char *)get_zeroed_page(GFP_KERNEL);
	if (!chardev_page)
		return -ENOMEM;
	error = alloc_chrdev_region(&chardev_number, 0, 2, "chardev");
	if (error)
		goto free_page;
	cdev_init(&chardev_page_cdev, &page_fops);
	error = cdev_add(&chardev_page_cdev, chardev_number, 1);
	if (error)
		goto unregister;
	cdev_init(&chardev_queue_cdev, &queue_fops);
	error = cdev_add(&chardev_queue_cdev, chardev_number + 1, 1);
	if (error)
		goto del_page;
	error = class_register(&chardev_class);
	if (error)
		goto del_queue;
	device_create(&chardev_class, NULL, chardev_number, NULL, "chardev%d", 0);
	device_create(&chardev_class, NULL, chardev_number + 1, NULL, "chardev%d", 1);
	pr_info("major %d\n", MAJOR(chardev_number));
	return 0;

del_queue:
	cdev_del(&chardev_queue_cdev);
del_page:
	cdev_del(&chardev_page_cdev);
unregister:
	unregister_chrdev_region(chardev_number, 2);
free_page:
	free_page((unsigned long)chardev_page);
	return error;
}

static void __exit chardev_exit(void)
{
	device_destroy(&chardev_class, chardev_number + 1);
	device_destroy(&chardev_class, chardev_number);
	class_unregister(&chardev_class);
	cdev_del(&chardev_queue_cdev);
	cdev_del(&chardev_page_cdev);
	unregister_chrdev_region(chardev_number, 2);
	free_page((unsigned long)chardev_page);
}

module_init(chardev_init);
module_exit(chardev_exit);
MODULE_LICENSE("GPL");
