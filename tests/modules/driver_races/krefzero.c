// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* A session that goes with its last reference; it is looked up without one. */
struct session { struct kref ref; int uses; };
static struct session *session; static DEFINE_MUTEX(lock);
static void gone(struct kref *k) { kfree(container_of(k, struct session, ref)); }
static long t_ioctl(struct file *f, unsigned int c, unsigned long a)
{
	struct session *s;
	switch (c) {
	case 0x5301:
		s = kzalloc(sizeof(*s), GFP_KERNEL);
		if (!s) return -ENOMEM;
		kref_init(&s->ref);
		mutex_lock(&lock);
		swap(s, session);
		mutex_unlock(&lock);
		if (s) kref_put(&s->ref, gone);
		return 0;
	case 0x5302:
		IF_RIGHT(mutex_lock(&lock);)
		s = session; /* the race */
		if (s) kref_get(&s->ref); /* the race */
		IF_RIGHT(mutex_unlock(&lock);)
		if (!s) return -ENOENT;
		WRITE_ONCE(s->uses, 1);
		kref_put(&s->ref, gone);
		return 0;
	case 0x5303:
		mutex_lock(&lock);
		s = session; session = NULL;
		mutex_unlock(&lock);
		if (s) kref_put(&s->ref, gone);
		return 0;
	}
	return -ENOTTY;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = t_ioctl };
static struct miscdevice dev = { .minor = MISC_DYNAMIC_MINOR, .name = "krefzero", .fops = &fops };
static int __init t_init(void) { return misc_register(&dev); }
static void __exit t_exit(void) { misc_deregister(&dev); if (session) kref_put(&session->ref, gone); }
module_init(t_init); module_exit(t_exit);
