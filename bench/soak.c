// SPDX-License-Identifier: GPL-2.0
/* A file that oopses whoever writes to it. */
#include <linux/module.h>
#include <linux/proc_fs.h>

static ssize_t soak_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	*(volatile int *)16 = 1;
	return size;
}

static const struct proc_ops soak_ops = { .proc_write = soak_write };

static int __init soak_init(void)
{
	return proc_create("soak", 0222, NULL, &soak_ops) ? 0 : -ENOMEM;
}

static void __exit soak_exit(void)
{
	remove_proc_entry("soak", NULL);
}

module_init(soak_init);
module_exit(soak_exit);
MODULE_LICENSE("GPL");
