/* SPDX-License-Identifier: GPL-2.0 */
/* What the drivers here share. */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/etherdevice.h>
#include <linux/fs.h>
#include <linux/hashtable.h>
#include <linux/hrtimer.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/kfifo.h>
#include <linux/kref.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/notifier.h>
#include <linux/percpu.h>
#include <linux/proc_fs.h>
#include <linux/rculist.h>
#include <linux/seq_file.h>
#include <linux/seqlock.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/version.h>

#ifdef RIGHT
#define IF_RIGHT(...) __VA_ARGS__
#define IF_WRONG(...)
#else
#define IF_RIGHT(...)
#define IF_WRONG(...) __VA_ARGS__
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define del_timer_sync timer_delete_sync
#define del_timer timer_delete
#endif
#ifndef from_timer /* renamed in 6.16 */
#define from_timer timer_container_of
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#define NEEDS_NO_LOCK(device) ((device)->features |= NETIF_F_LLTX)
#else
#define NEEDS_NO_LOCK(device) ((device)->lltx = true)
#endif
#define MISC(NAME, ...)                                                                                     \
	static const struct file_operations fops = { .owner = THIS_MODULE, __VA_ARGS__ };                   \
	static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = NAME, .fops = &fops }
MODULE_LICENSE("GPL");
