/* SPDX-License-Identifier: GPL-2.0 */
/* A misc device whose operations a file defines: DEVICE(name, .write = ..., .read = ...). */
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>

#define DEVICE(NAME, ...)                                                                                  \
	static const struct file_operations fops = { .owner = THIS_MODULE, __VA_ARGS__ };                   \
	static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = NAME, .fops = &fops };     \
	MODULE_LICENSE("GPL")

#ifdef RIGHT
#define IF_RIGHT(...) __VA_ARGS__
#else
#define IF_RIGHT(...)
#endif

static DEFINE_MUTEX(lock);
#define LOCK() IF_RIGHT(mutex_lock(&lock))
#define UNLOCK() IF_RIGHT(mutex_unlock(&lock))
static inline void unused(void) { (void)&lock; }
