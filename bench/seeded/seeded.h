// SPDX-License-Identifier: GPL-2.0
#include <linux/version.h>
#include <linux/module.h>
#include <linux/kernel.h>
#include <linux/init.h>
#include <linux/fs.h>
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/miscdevice.h>
#include <linux/uaccess.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/mm.h>
#include <linux/io.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/rwsem.h>
#include <linux/list.h>
#include <linux/timer.h>
#include <linux/hrtimer.h>
#include <linux/workqueue.h>
#include <linux/kthread.h>
#include <linux/delay.h>
#include <linux/wait.h>
#include <linux/completion.h>
#include <linux/interrupt.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/debugfs.h>
#include <linux/kobject.h>
#include <linux/sysfs.h>
#include <linux/idr.h>
#include <linux/xarray.h>
#include <linux/kref.h>
#include <linux/refcount.h>
#include <linux/percpu.h>
#include <linux/rculist.h>
#include <linux/notifier.h>
#include <linux/bitmap.h>
#include <linux/string.h>
#include <linux/netdevice.h>
#include <linux/etherdevice.h>
#include <linux/skbuff.h>
#include <linux/platform_device.h>
#include <linux/highmem.h>
#include <linux/firmware.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/mm.h>
#include <linux/pid.h>
#include <linux/file.h>
#include <linux/namei.h>
#include <linux/cred.h>
#include <linux/ctype.h>
#include <linux/random.h>
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/splice.h>
#include <linux/pipe_fs_i.h>
#include <linux/input.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/uio.h>
#include <linux/xattr.h>
#include <linux/statfs.h>
#include <linux/rbtree.h>
#include <linux/netlink.h>
#include <linux/iversion.h>
#include <linux/mount.h>
#include <crypto/internal/hash.h>
#include <linux/crypto.h>
#include <net/sock.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
#define ALLOC_DISK() blk_alloc_disk(NULL, NUMA_NO_NODE)
#else
#define ALLOC_DISK() blk_alloc_disk(NUMA_NO_NODE)
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define TIMER_SYNC timer_shutdown_sync
#else
#define TIMER_SYNC del_timer_sync
#endif

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("a driver with one mistake");
