// SPDX-License-Identifier: GPL-2.0
/* Its init gives up without giving back the device numbers. */
#include <linux/cdev.h>
#include <linux/fs.h>
#include <linux/module.h>

static const struct file_operations errorpath_fops = { .owner = THIS_MODULE };
static struct cdev errorpath_cdev;
static dev_t numbers;

static int __init errorpath_init(void)
{
	int err = alloc_chrdev_region(&numbers, 0, 2, KBUILD_MODNAME);

	if (err)
		return err;
	cdev_init(&errorpath_cdev, &errorpath_fops);
	err = cdev_add(&errorpath_cdev, numbers, 2);
#ifdef RIGHT
	if (err)
		unregister_chrdev_region(numbers, 2);
#endif
	return err;
}

static void __exit errorpath_exit(void)
{
	cdev_del(&errorpath_cdev);
	unregister_chrdev_region(numbers, 2);
}

module_init(errorpath_init);
module_exit(errorpath_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Leaves its device numbers behind when init fails");
