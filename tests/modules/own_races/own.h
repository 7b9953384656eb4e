/* SPDX-License-Identifier: GPL-2.0 */
/* What the modules here share. */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/version.h>
#include <linux/workqueue.h>

#ifdef RIGHT
#define IF_RIGHT(...) __VA_ARGS__
#define IF_WRONG(...)
#else
#define IF_RIGHT(...)
#define IF_WRONG(...) __VA_ARGS__
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define timer_delete_sync del_timer_sync
#define timer_shutdown_sync del_timer_sync
#endif
MODULE_LICENSE("GPL");
