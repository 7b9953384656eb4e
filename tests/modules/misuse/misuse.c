// SPDX-License-Identifier: GPL-2.0-or-later
/* One mistake for each value of `what`, made by a write to /dev/misuse; with right=1 the same without the mistake. */
#include <linux/bitops.h>
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/kallsyms.h>
#include <linux/kobject.h>
#include <linux/mempool.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/pid.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

static char what[16] = "";
module_param_string(what, what, sizeof(what), 0444);
static bool right;
module_param(right, bool, 0444);

static char text[64] = "50%d off";
static char window[256];
static unsigned long mask;
static int chosen;
module_param(chosen, int, 0444);
static struct kobject *object;
static mempool_t *pool;
static DECLARE_WAIT_QUEUE_HEAD(queue);

static void do_format(size_t n, const char __user *from)
{
	if (right)
		printk("%s", text);
	else
		printk(text); /* format: bad */
}

static void do_overlap(size_t n, const char __user *from)
{
	if (right)
		memmove(window + n, window, sizeof(window) - n);
	else
		memcpy(window + n, window, sizeof(window) - n); /* overlap: bad */
}

static void do_shift(size_t n, const char __user *from)
{
	unsigned int bit = n * 40;

	if (right && bit >= 32)
		return;
	mask |= 1 << bit; /* shift: bad */
}

static void do_scan(size_t n, const char __user *from)
{
	char word[8];

	if (right)
		sscanf("much too long", "%7s", word);
	else
		sscanf("much-too-long", "%s", word); /* scan: bad */
	chosen = word[0];
}

static void do_task(size_t n, const char __user *from)
{
	struct task_struct *task = get_pid_task(task_pid(current), PIDTYPE_PID); /* task: bad */

	if (right && task)
		put_task_struct(task);
}

static void do_netdev(size_t n, const char __user *from)
{
	struct net_device *device = dev_get_by_name(&init_net, "lo"); /* netdev: bad */

	if (right)
		dev_put(device);
}

static void do_kobject(size_t n, const char __user *from)
{
	kobject_get(object); /* kobject: bad */
	if (right)
		kobject_put(object);
}

static void do_pool(size_t n, const char __user *from)
{
	void *element = mempool_alloc(pool, GFP_KERNEL); /* pool: bad */

	if (right)
		mempool_free(element, pool);
}

static void do_wait(size_t n, const char __user *from)
{
	DECLARE_WAITQUEUE(entry, current);

	add_wait_queue(&queue, &entry); /* wait: bad */
	if (right)
		remove_wait_queue(&queue, &entry);
}

static DEFINE_SPINLOCK(outer);
static DEFINE_SPINLOCK(inner);

static void do_nested(size_t n, const char __user *from)
{
	unsigned long flags, more;

	spin_lock_irqsave(&outer, flags);
	if (right) {
		spin_lock_irqsave(&inner, more);
		spin_unlock_irqrestore(&inner, more);
	} else {
		spin_lock_irqsave(&inner, flags);
		spin_unlock_irqrestore(&inner, flags);
	}
	spin_unlock_irqrestore(&outer, flags); /* nested: bad */
}

/* The inner lock is let go last, with the flags of the outer one: as good as the other way round. */
static void do_crosswise(size_t n, const char __user *from)
{
	unsigned long flags, more;

	spin_lock_irqsave(&outer, flags);
	spin_lock_irqsave(&inner, more);
	spin_unlock_irqrestore(&outer, more);
	spin_unlock_irqrestore(&inner, flags);
}

static void do_interrupts(size_t n, const char __user *from)
{
	local_irq_disable(); /* interrupts: bad */
	if (right)
		local_irq_enable();
}

static void do_branch(size_t n, const char __user *from)
{
	int *values = right ? kcalloc(4, sizeof(int), GFP_KERNEL) : kmalloc(16, GFP_KERNEL);

	if (!values)
		return;
	if (values[2] > 5) /* branch: bad */
		chosen = 1;
	kfree(values);
}

static void do_far(size_t n, const char __user *from)
{
	char *small = kzalloc(32, GFP_KERNEL);

	if (!small)
		return;
	small[right ? 31 : 120 + n] = 1; /* far: bad */
	kfree(small);
}

static void do_kernel(size_t n, const char __user *from)
{
	char *small = kzalloc(right ? KSYM_SYMBOL_LEN : 4, GFP_KERNEL);

	if (!small)
		return;
	sprint_symbol(small, (unsigned long)misc_register);
	kfree(small); /* kernel: bad */
}

static void do_fetch(size_t n, const char __user *from)
{
	u8 first, buffer[4];

	if (get_user(first, (u8 __user *)from) || first > 3)
		return;
	if (copy_from_user(buffer, from, 1))
		return;
	window[(right ? first : buffer[0]) + sizeof(window) - 8] = 1; /* fetch: bad */
}

static void do_packet(size_t n, const char __user *from)
{
	struct sk_buff *skb = alloc_skb(64, GFP_KERNEL);

	if (!skb)
		return;
	skb_put(skb, n);
	chosen = right ? skb->len : 0;
	kfree_skb(skb);
	if (!right)
		chosen = skb->len; /* packet: bad */
}

static void do_counted(size_t n, const char __user *from)
{
	struct kobject *own = kzalloc(sizeof(*own), GFP_KERNEL);

	if (!own)
		return;
	if (kobject_init_and_add(own, (struct kobj_type *)get_ktype(object), object, "own"))
		pr_info("no kobject\n");
	kobject_del(own);
	if (right)
		kobject_put(own);
	else
		kfree(own); /* counted: bad */
}

static DEFINE_SPINLOCK(lock);

static void do_flags(size_t n, const char __user *from)
{
	char *name;

	spin_lock(&lock);
	name = kasprintf(right ? GFP_ATOMIC : GFP_KERNEL, "%zu", n); /* flags: bad */
	spin_unlock(&lock);
	kfree(name);
}

static struct completion *waiter;

static void complete_late(struct work_struct *work)
{
	if (waiter)
		complete(waiter); /* complete: bad */
}
static DECLARE_DELAYED_WORK(late, complete_late);

static void do_complete(size_t n, const char __user *from)
{
	DECLARE_COMPLETION_ONSTACK(done);

	waiter = &done;
	schedule_delayed_work(&late, HZ / 4);
	if (!wait_for_completion_timeout(&done, HZ / 50) && right) {
		cancel_delayed_work_sync(&late);
		waiter = NULL;
	}
}

static DEFINE_IDR(numbers);

static void do_numbers(size_t n, const char __user *from)
{
	if (idr_alloc(&numbers, object, 5, 0, GFP_KERNEL) < 0) /* numbers: bad */
		return;
	if (right)
		idr_destroy(&numbers);
}

static void do_shown(size_t n, const char __user *from)
{
	struct dentry *directory = debugfs_create_dir("misuse", NULL);
	u32 *variable = kzalloc(sizeof(*variable), GFP_KERNEL);

	if (variable)
		debugfs_create_u32("shown", 0600, directory, variable);
	if (right)
		debugfs_remove(directory);
	kfree(variable); /* shown: bad */
	if (!right)
		debugfs_remove(directory);
}

static DECLARE_BITMAP(bits, 64);
static int behind[2];
module_param_array(behind, int, NULL, 0444);

static void do_bit(size_t n, const char __user *from)
{
	__set_bit(right ? 63 * n : 64 * n, bits); /* bit: bad */
}

#define ROW(name) { #name, do_##name }
static const struct {
	const char *name;
	void (*function)(size_t n, const char __user *from);
} rows[] = {
	ROW(format), ROW(overlap), ROW(shift), ROW(scan), ROW(task), ROW(netdev), ROW(kobject), ROW(pool), ROW(wait),
	ROW(interrupts), ROW(nested), ROW(crosswise), ROW(branch), ROW(far), ROW(kernel), ROW(fetch),
	ROW(packet), ROW(counted), ROW(flags), ROW(complete), ROW(numbers), ROW(shown), ROW(bit),
};

static ssize_t misuse_write(struct file *file, const char __user *from, size_t n, loff_t *position)
{
	int row;

	for (row = 0; row < ARRAY_SIZE(rows); row++)
		if (!strcmp(rows[row].name, what))
			rows[row].function(n, from);
	return n;
}

static const struct file_operations operations = { .owner = THIS_MODULE, .write = misuse_write };
static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = "misuse", .fops = &operations };

static int __init misuse_init(void)
{
	int error = -ENOMEM;

	object = kobject_create_and_add("misuse", kernel_kobj); /* kobject: made */
	if (!object)
		return error;
	pool = mempool_create_kmalloc_pool(2, 64);
	if (!pool)
		goto no_pool;
	error = misc_register(&device);
	if (!error)
		return 0;
	mempool_destroy(pool);
no_pool:
	kobject_put(object);
	return error;
}

static void __exit misuse_exit(void)
{
	misc_deregister(&device);
	cancel_delayed_work_sync(&late);
	mempool_destroy(pool);
	kobject_put(object);
}

module_init(misuse_init);
module_exit(misuse_exit);
MODULE_DESCRIPTION("mistakes with the kernel's functions, one by one");
MODULE_LICENSE("GPL");
