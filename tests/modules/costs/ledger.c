// SPDX-License-Identifier: GPL-2.0
/*
 * A device whose use of memory, locks, the log and interrupts is known. What is written to it says what to do:
 *
 *     a N   allocate N bytes, and keep them             f     free all that is kept, the newest first
 *     t N   allocate N bytes without waiting            r     free the newest one after a grace period (kfree_rcu)
 *     c     an object of a cache of its own, kept       g N   make the newest one N bytes large (krealloc)
 *     v N   vmalloc N bytes, and free them              s     kstrdup() of a name, and free it
 *     p N   2^N pages, and free them                    l N   N log lines
 *     h N   hold the spinlock for N microseconds        m N   hold the mutex for N milliseconds, asleep
 *     i N   interrupts off for N microseconds
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#define MOST 512

struct rcu_object {
	struct rcu_head head;
	char data[100];
};

struct record {
	char data[200];
};

static void *kept[MOST];
static bool of_cache[MOST];
static int count;
static struct kmem_cache *cache;
static DEFINE_SPINLOCK(ledger_lock);
static DEFINE_MUTEX(ledger_mutex);

static int probe_ms;
module_param(probe_ms, int, 0444);
MODULE_PARM_DESC(probe_ms, "how long the driver's probe sleeps; 0: there is no driver");

static int keep(void *object, bool cached)
{
	if (!object || count == MOST)
		return -ENOMEM;
	of_cache[count] = cached;
	kept[count++] = object;
	return 0;
}

static void free_all(void)
{
	while (count) {
		if (of_cache[--count])
			kmem_cache_free(cache, kept[count]);
		else
			kfree(kept[count]);
	}
}

static int other_memory(char what, unsigned long n)
{
	struct rcu_object *rcu;
	void *got;

	switch (what) {
	case 'v':
		got = vmalloc(n);
		vfree(got);
		return got ? 0 : -ENOMEM;
	case 'p':
		got = (void *)__get_free_pages(GFP_KERNEL, n);
		free_pages((unsigned long)got, n);
		return got ? 0 : -ENOMEM;
	case 's':
		got = kstrdup("a name of 20 bytes!", GFP_KERNEL);
		kfree(got);
		return got ? 0 : -ENOMEM;
	case 'r':
		rcu = kmalloc(sizeof(*rcu), GFP_KERNEL);
		if (!rcu)
			return -ENOMEM;
		kfree_rcu(rcu, head);
		return 0;
	}
	return -EINVAL;
}

static int locked(char what, unsigned long n)
{
	unsigned long flags;

	switch (what) {
	case 'h':
		spin_lock(&ledger_lock);
		udelay(n);
		spin_unlock(&ledger_lock);
		return 0;
	case 'm':
		mutex_lock(&ledger_mutex);
		msleep(n);
		mutex_unlock(&ledger_mutex);
		return 0;
	case 'i':
		local_irq_save(flags);
		udelay(n);
		local_irq_restore(flags);
		return 0;
	}
	return other_memory(what, n);
}

static noinline int keep_now(unsigned long n)
{
	void *object = kmalloc(n, GFP_ATOMIC);

	return keep(object, false);
}

static int run(char what, unsigned long n)
{
	void *larger;

	switch (what) {
	case 'a':
		return keep(kmalloc(n, GFP_KERNEL), false);
	case 't':
		return keep_now(n);
	case 'c':
		return keep(kmem_cache_alloc(cache, GFP_KERNEL), true);
	case 'f':
		free_all();
		return 0;
	case 'g':
		larger = krealloc(kept[count - 1], n, GFP_KERNEL);
		if (larger)
			kept[count - 1] = larger;
		return 0;
	case 'l':
		while (n--)
			pr_info("ledger: a line\n");
		return 0;
	}
	return locked(what, n);
}

static ssize_t ledger_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	char text[32] = "";
	unsigned long n = 0;
	int err;

	if (size >= sizeof(text) || copy_from_user(text, from, size))
		return -EFAULT;
	if (size > 2 && kstrtoul(strim(text + 2), 10, &n))
		return -EINVAL;
	err = run(text[0], n);
	return err ?: size;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.write = ledger_write,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ledger",
	.fops = &operations,
	.mode = 0666,
};

static int ledger_probe(struct platform_device *pdev)
{
	msleep(probe_ms);
	return 0;
}

static struct platform_driver driver = {
	.driver.name = "ledger",
	.probe = ledger_probe,
};

static struct platform_device *platform;

static int __init ledger_init(void)
{
	int err;

	cache = kmem_cache_create("ledger_record", sizeof(struct record), 0, SLAB_HWCACHE_ALIGN, NULL);
	if (!cache)
		return -ENOMEM;
	if (probe_ms) {
		platform = platform_device_register_simple("ledger", -1, NULL, 0);
		err = platform_driver_register(&driver);
		if (err)
			return err;
	}
	return misc_register(&device);
}

static void __exit ledger_exit(void)
{
	misc_deregister(&device);
	free_all();
	if (probe_ms) {
		platform_driver_unregister(&driver);
		platform_device_unregister(platform);
	}
	kmem_cache_destroy(cache);
}

module_init(ledger_init);
module_exit(ledger_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A device whose use of memory, locks, the log and interrupts is known");
