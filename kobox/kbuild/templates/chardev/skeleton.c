// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a character device, /dev/skeleton, that keeps what is written.
 *
 * A device number (alloc_chrdev_region), the operations behind it (cdev), and
 * a class, which makes udev or devtmpfs create the node.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "skeleton.h"

#define SKELETON_SIZE 4096

static struct skeleton {
	struct cdev cdev;
	struct mutex lock;		/* guards data and used */
	wait_queue_head_t changed;	/* who waits for data in poll() */
	size_t used;
	char data[SKELETON_SIZE];
} skeleton;

static dev_t skeleton_number;

static struct class skeleton_class = {
	.name = "skeleton",
};

static int skeleton_open(struct inode *inode, struct file *file)
{
	/* One device could be many: find ours from the cdev it was opened by. */
	file->private_data = container_of(inode->i_cdev, struct skeleton, cdev);
	return 0;
}

static ssize_t skeleton_read(struct file *file, char __user *to, size_t count,
			     loff_t *pos)
{
	struct skeleton *dev = file->private_data;
	ssize_t done;

	if (mutex_lock_interruptible(&dev->lock))
		return -ERESTARTSYS;
	/* Checks bounds, copies, moves the position: 0 at the end. */
	done = simple_read_from_buffer(to, count, pos, dev->data, dev->used);
	mutex_unlock(&dev->lock);
	return done;
}

static ssize_t skeleton_write(struct file *file, const char __user *from,
			      size_t count, loff_t *pos)
{
	struct skeleton *dev = file->private_data;
	ssize_t done;

	if (mutex_lock_interruptible(&dev->lock))
		return -ERESTARTSYS;
	if (file->f_flags & O_APPEND)
		*pos = dev->used;
	done = -ENOSPC;
	if (*pos < SKELETON_SIZE)
		done = simple_write_to_buffer(dev->data, SKELETON_SIZE, pos,
					      from, count);
	if (done > 0)
		dev->used = max_t(size_t, dev->used, *pos);
	mutex_unlock(&dev->lock);
	if (done > 0)
		wake_up_interruptible(&dev->changed);
	return done;
}

static loff_t skeleton_llseek(struct file *file, loff_t offset, int whence)
{
	struct skeleton *dev = file->private_data;

	return generic_file_llseek_size(file, offset, whence, SKELETON_SIZE,
					READ_ONCE(dev->used));
}

static __poll_t skeleton_poll(struct file *file, poll_table *wait)
{
	struct skeleton *dev = file->private_data;
	__poll_t mask = 0;

	/* Registers the wait queue first, so that no change is missed. */
	poll_wait(file, &dev->changed, wait);
	mutex_lock(&dev->lock);
	if (file->f_pos < dev->used)
		mask |= EPOLLIN | EPOLLRDNORM;
	if (file->f_pos < SKELETON_SIZE)
		mask |= EPOLLOUT | EPOLLWRNORM;
	mutex_unlock(&dev->lock);
	return mask;
}

static long skeleton_ioctl(struct file *file, unsigned int cmd,
			   unsigned long arg)
{
	struct skeleton *dev = file->private_data;
	struct skeleton_status status = { .size = SKELETON_SIZE };

	switch (cmd) {
	case SKELETON_IOC_CLEAR:
		mutex_lock(&dev->lock);
		dev->used = 0;
		memset(dev->data, 0, sizeof(dev->data));
		mutex_unlock(&dev->lock);
		return 0;
	case SKELETON_IOC_STATUS:
		mutex_lock(&dev->lock);
		status.used = dev->used;
		mutex_unlock(&dev->lock);
		if (copy_to_user((void __user *)arg, &status, sizeof(status)))
			return -EFAULT;
		return 0;
	default:
		return -ENOTTY;	/* "no such ioctl" */
	}
}

static const struct file_operations skeleton_fops = {
	.owner = THIS_MODULE,	/* an open file keeps the module loaded */
	.open = skeleton_open,
	.read = skeleton_read,
	.write = skeleton_write,
	.llseek = skeleton_llseek,
	.poll = skeleton_poll,
	.unlocked_ioctl = skeleton_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static int __init skeleton_init(void)
{
	struct device *node;
	int err;

	mutex_init(&skeleton.lock);
	init_waitqueue_head(&skeleton.changed);

	err = alloc_chrdev_region(&skeleton_number, 0, 1, "skeleton");
	if (err)
		return err;
	err = class_register(&skeleton_class);
	if (err)
		goto no_class;
	cdev_init(&skeleton.cdev, &skeleton_fops);
	skeleton.cdev.owner = THIS_MODULE;
	err = cdev_add(&skeleton.cdev, skeleton_number, 1);
	if (err)
		goto no_cdev;
	/* Last: as soon as the node is there, somebody may open it. */
	node = device_create(&skeleton_class, NULL, skeleton_number, NULL,
			     "skeleton");
	if (IS_ERR(node)) {
		err = PTR_ERR(node);
		goto no_node;
	}
	pr_info("/dev/skeleton is %d:%d\n", MAJOR(skeleton_number),
		MINOR(skeleton_number));
	return 0;

no_node:
	cdev_del(&skeleton.cdev);
no_cdev:
	class_unregister(&skeleton_class);
no_class:
	unregister_chrdev_region(skeleton_number, 1);
	return err;
}

static void __exit skeleton_exit(void)
{
	device_destroy(&skeleton_class, skeleton_number);
	cdev_del(&skeleton.cdev);
	class_unregister(&skeleton_class);
	unregister_chrdev_region(skeleton_number, 1);
}

module_init(skeleton_init);
module_exit(skeleton_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A character device that keeps what is written to it");
