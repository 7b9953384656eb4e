// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* Sessions in an IDR. */
struct session { int id; };
static DEFINE_IDR(sessions);
static DEFINE_MUTEX(lock);
static long t_ioctl(struct file *f, unsigned int c, unsigned long a)
{
	struct session *s; int id;
	switch (c) {
	case 0x4901:
		s = kzalloc(sizeof(*s), GFP_KERNEL);
		if (!s)
			return -ENOMEM;
		mutex_lock(&lock);
		id = s->id = idr_alloc(&sessions, s, 1, 100, GFP_KERNEL);
		mutex_unlock(&lock);
		if (id < 0)
			kfree(s);
		return id;
	case 0x4902:
		IF_RIGHT(mutex_lock(&lock);)
		s = idr_find(&sessions, a); /* the race */
		if (s)
			idr_remove(&sessions, a);
		IF_RIGHT(mutex_unlock(&lock);)
		if (!s)
			return -ENOENT;
		kfree(s); /* the race */
		return 0;
	}
	return -ENOTTY;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = t_ioctl };
static struct miscdevice dev = { .minor = MISC_DYNAMIC_MINOR, .name = "idr", .fops = &fops };
static int __init t_init(void) { return misc_register(&dev); }
static void __exit t_exit(void) { struct session *s; int id; misc_deregister(&dev); idr_for_each_entry(&sessions, s, id) kfree(s); idr_destroy(&sessions); }
module_init(t_init); module_exit(t_exit);
