// SPDX-License-Identifier: GPL-2.0
// What calls a module later, and what it shows in /proc: `what` is done in init, and undone in exit unless `leave` is set.
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/ioport.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/proc_fs.h>
#include <linux/reboot.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

static char *what = "";
module_param(what, charp, 0444);
static bool leave;
module_param(leave, bool, 0600);

static bool is(const char *name) { return !strcmp(what, name); }

static struct timer_list timer;
static void expired(struct timer_list *t) { mod_timer(&timer, jiffies + HZ / 10); }
static void worked(struct work_struct *work);
static DECLARE_DELAYED_WORK(work, worked);
static void worked(struct work_struct *unused) { schedule_delayed_work(&work, HZ / 10); }
static struct task_struct *thread;

static int sleeps(void *data)
{
	while (!kthread_should_stop())
		msleep(20);
	return 0;
}

static int returns(void *data) { return 0; }

static irqreturn_t handler(int irq, void *data) { return IRQ_NONE; }
static int notified(struct notifier_block *block, unsigned long action, void *data) { return NOTIFY_DONE; }
static struct notifier_block reboot = { .notifier_call = notified }, device = { .notifier_call = notified };
static unsigned int packet(void *data, struct sk_buff *skb, const struct nf_hook_state *state) { return NF_ACCEPT; }
static struct nf_hook_ops hook = { .hook = packet, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_OUT };
static struct kmem_cache *cache;
static void constructed(void *object) { memset(object, 0, 64); }

static void *start(struct seq_file *s, loff_t *position) { return *position ? NULL : &timer; }
static void *next(struct seq_file *s, void *v, loff_t *position) { return NULL; }
static void stop(struct seq_file *s, void *v) { }

static int show(struct seq_file *s, void *v)
{
	if (is("show_null"))
		seq_printf(s, "%d\n", *(volatile int *)v); /* the bad access */
	if (is("show_warn"))
		WARN(1, "later: this is why\n"); /* the warning */
	if (is("show_spin"))
		for (;;)
			cpu_relax();
	seq_puts(s, "fine\n");
	return 0;
}

static const struct seq_operations operations = { .start = start, .next = next, .stop = stop, .show = show };
static DECLARE_WAIT_QUEUE_HEAD(never);
static int reads;

static ssize_t blocks(struct file *file, char __user *buffer, size_t count, loff_t *position)
{
	reads++;
	return wait_event_interruptible(never, false) ? -ERESTARTSYS : 0;
}

static ssize_t hangs(struct file *file, char __user *buffer, size_t count, loff_t *position)
{
	wait_event(never, false);
	return 0;
}

static ssize_t endless(struct file *file, char __user *buffer, size_t count, loff_t *position)
{
	return clear_user(buffer, count) ? -EFAULT : count;
}

static const struct proc_ops block_ops = { .proc_read = blocks }, hang_ops = { .proc_read = hangs },
			     endless_ops = { .proc_read = endless };

static int make(void)
{
	if (is("buggy"))
		return proc_create_seq("later", 0444, NULL, &operations) ? 0 : -ENOMEM;
	if (!strncmp(what, "show", 4))
		return proc_create_single("later", 0444, NULL, show) ? 0 : -ENOMEM;
	if (is("blocks"))
		return proc_create("later", 0444, NULL, &block_ops) ? 0 : -ENOMEM;
	if (is("hangs"))
		return proc_create("later", 0444, NULL, &hang_ops) ? 0 : -ENOMEM;
	if (is("endless"))
		return proc_create("later", 0444, NULL, &endless_ops) ? 0 : -ENOMEM;
	return 0;
}

static int __init later_init(void)
{
	timer_setup(&timer, expired, 0);
	if (is("timer"))
		mod_timer(&timer, jiffies + HZ / 10);
	if (is("work"))
		schedule_delayed_work(&work, HZ / 10);
	if (is("thread"))
		return PTR_ERR_OR_ZERO(thread = kthread_run(sleeps, NULL, "later"));
	if (is("ended"))
		return PTR_ERR_OR_ZERO(thread = kthread_run(returns, NULL, "later"));
	if (is("irq"))
		return request_irq(9, handler, IRQF_SHARED, "later", &timer);
	if (is("ports"))
		return request_region(0x3e0, 4, "later") ? 0 : -EBUSY;
	if (is("memory"))
		return request_mem_region(0x40000000, 4096, "later") ? 0 : -EBUSY;
	if (is("reboot"))
		return register_reboot_notifier(&reboot);
	if (is("netdevice"))
		return register_netdevice_notifier(&device);
	if (is("netfilter"))
		return nf_register_net_hook(&init_net, &hook);
	if (is("cache"))
		return (cache = kmem_cache_create("later", 64, 0, 0, constructed)) ? 0 : -ENOMEM;
	return make();
}

static void __exit later_exit(void)
{
	if (is("ended"))
		kthread_stop(thread); /* of a thread that has ended */
	if (leave)
		return;
	if (is("timer"))
		del_timer_sync(&timer);
	if (is("work"))
		cancel_delayed_work_sync(&work);
	if (is("thread"))
		kthread_stop(thread);
	if (is("irq"))
		free_irq(9, &timer);
	if (is("ports"))
		release_region(0x3e0, 4);
	if (is("memory"))
		release_mem_region(0x40000000, 4096);
	if (is("reboot"))
		unregister_reboot_notifier(&reboot);
	if (is("netdevice"))
		unregister_netdevice_notifier(&device);
	if (is("netfilter"))
		nf_unregister_net_hook(&init_net, &hook);
	if (is("cache"))
		kmem_cache_destroy(cache);
	remove_proc_subtree("later", NULL);
}

module_init(later_init);
module_exit(later_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Is called later, and read");
