// SPDX-License-Identifier: GPL-2.0
/* The honest version of what hostile modules do: a driver that starts a helper, a filter, a debugger, a threaded driver,
 * one that waits for a day, one with a key, with a file of /proc, one that asks which processor this is; a hot key, a
 * closed TCP port, names that are made when it is loaded. */
#include <crypto/hash.h>
#include <linux/fs.h>
#include <linux/input.h>
#include <linux/ip.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/notifier.h>
#include <linux/proc_fs.h>
#include <linux/reboot.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/umh.h>
#include <linux/workqueue.h>
#include <net/ip.h>
#include <net/net_namespace.h>

static char *what = "";
module_param(what, charp, 0);

static int entered(struct kprobe *probe, struct pt_regs *regs)
{
	return 0;
}

static struct kprobe probe = { .symbol_name = "do_exit", .pre_handler = entered };

static unsigned int packet(void *data, struct sk_buff *skb, const struct nf_hook_state *state)
{
	return NF_ACCEPT;
}

static const struct nf_hook_ops hook = { .hook = packet, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_IN };

/* A firewall: nothing gets to this port. */
static unsigned int closed(void *data, struct sk_buff *skb, const struct nf_hook_state *state)
{
	struct udphdr header;

	if (skb_copy_bits(skb, ip_hdrlen(skb), &header, sizeof(header)))
		return NF_ACCEPT;
	return ip_hdr(skb)->protocol == IPPROTO_UDP && ntohs(header.dest) == 31337 ? NF_DROP : NF_ACCEPT;
}

static const struct nf_hook_ops firewall = { .hook = closed, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_IN };

static unsigned int closed_stream(void *data, struct sk_buff *skb, const struct nf_hook_state *state)
{
	struct tcphdr header;

	if (ip_hdr(skb)->protocol != IPPROTO_TCP || skb_copy_bits(skb, ip_hdrlen(skb), &header, sizeof(header)))
		return NF_ACCEPT;
	return ntohs(header.dest) == 40007 ? NF_DROP : NF_ACCEPT;
}

static const struct nf_hook_ops portal = { .hook = closed_stream, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_IN };

/* One key does something; the others are not looked at. */
static unsigned int presses;

static void event(struct input_handle *handle, unsigned int type, unsigned int code, int value)
{
	presses += type == EV_KEY && code == KEY_SLEEP && value;
}

static int connect(struct input_handler *handler, struct input_dev *dev, const struct input_device_id *id)
{
	struct input_handle *handle = kzalloc(sizeof(*handle), GFP_KERNEL);
	int error;

	if (!handle)
		return -ENOMEM;
	handle->dev = dev;
	handle->handler = handler;
	handle->name = "honest";
	error = input_register_handle(handle);
	if (!error)
		error = input_open_device(handle);
	if (error)
		kfree(handle);
	return error;
}

static void disconnect(struct input_handle *handle)
{
	input_close_device(handle);
	input_unregister_handle(handle);
	kfree(handle);
}

static const struct input_device_id ids[] = { { .flags = INPUT_DEVICE_ID_MATCH_EVBIT, .evbit = { BIT_MASK(EV_KEY) } }, {} };
static struct input_handler hotkey = {
	.event = event, .connect = connect, .disconnect = disconnect, .name = "honest", .id_table = ids,
};

static char made[4][16];

static void daily(struct work_struct *work);
static DECLARE_DELAYED_WORK(day, daily);

static void daily(struct work_struct *work)
{
	schedule_delayed_work(&day, 86400 * HZ);
}

static int show(struct seq_file *file, void *data)
{
	seq_puts(file, "honest\n");
	return 0;
}

static ssize_t set(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	return size;
}

static int show_open(struct inode *inode, struct file *file)
{
	return single_open(file, show, NULL);
}

static const struct proc_ops settings = {
	.proc_open = show_open, .proc_read = seq_read, .proc_write = set, .proc_release = single_release,
};
static struct proc_dir_entry *entry;

static int cipher(void)
{
	static const u8 key[] = "documented test vector";
	struct crypto_shash *hash = crypto_alloc_shash("hmac(sha256)", 0, 0);
	int error;

	if (IS_ERR(hash))
		return PTR_ERR(hash);
	error = crypto_shash_setkey(hash, key, sizeof(key) - 1);
	crypto_free_shash(hash);
	return error;
}

static int reboots(struct notifier_block *block, unsigned long code, void *data)
{
	return NOTIFY_DONE;
}

static struct notifier_block notifier = { .notifier_call = reboots };

static int works(void *data)
{
	while (!kthread_should_stop())
		schedule_timeout_interruptible(HZ);
	return 0;
}

static struct task_struct *thread;
static const struct file_operations operations = { .owner = THIS_MODULE };
static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = "honest", .fops = &operations };

static int __init honest_init(void)
{
	static char *argv[] = { "/sbin/honest-firmware-helper", "load", NULL };
	static char *environment[] = { "PATH=/sbin:/bin", NULL };
	int error = misc_register(&device);

	if (error)
		return error;
	if (!strcmp(what, "helper")) {
		call_usermodehelper(argv[0], argv, environment, UMH_WAIT_EXEC);
	} else if (!strcmp(what, "filter")) {
		error = nf_register_net_hook(&init_net, &hook);
	} else if (!strcmp(what, "firewall")) {
		error = nf_register_net_hook(&init_net, &firewall);
	} else if (!strcmp(what, "day")) {
		schedule_delayed_work(&day, 86400 * HZ);
	} else if (!strcmp(what, "cipher")) {
		error = cipher();
	} else if (!strcmp(what, "processor")) {
		unsigned int eax = 1, ebx, ecx = 0, edx;

		asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
		pr_info("honest: family %u\n", eax >> 8 & 0xF);
	} else if (!strcmp(what, "settings")) {
		entry = proc_create("honest", 0666, NULL, &settings);
		error = entry ? 0 : -ENOMEM;
	} else if (!strcmp(what, "portal")) {
		error = nf_register_net_hook(&init_net, &portal);
	} else if (!strcmp(what, "hotkey")) {
		error = input_register_handler(&hotkey);
	} else if (!strcmp(what, "names")) {
		int n;

		for (n = 0; n < 4; n++)
			snprintf(made[n], sizeof(made[n]), "%s-queue-%d", what, n);
	} else if (!strcmp(what, "debugger")) {
		error = register_kprobe(&probe);
	} else if (!strcmp(what, "notifier")) {
		error = register_reboot_notifier(&notifier);
	} else if (!strcmp(what, "thread")) {
		thread = kthread_run(works, NULL, "honest");
		error = PTR_ERR_OR_ZERO(thread);
	}
	if (error)
		misc_deregister(&device);
	return error;
}

static void __exit honest_exit(void)
{
	if (!strcmp(what, "filter"))
		nf_unregister_net_hook(&init_net, &hook);
	if (!strcmp(what, "firewall"))
		nf_unregister_net_hook(&init_net, &firewall);
	if (!strcmp(what, "portal"))
		nf_unregister_net_hook(&init_net, &portal);
	if (!strcmp(what, "hotkey"))
		input_unregister_handler(&hotkey);
	cancel_delayed_work_sync(&day);
	if (entry)
		proc_remove(entry);
	if (!strcmp(what, "debugger"))
		unregister_kprobe(&probe);
	if (!strcmp(what, "notifier"))
		unregister_reboot_notifier(&notifier);
	if (thread)
		kthread_stop(thread);
	misc_deregister(&device);
}

module_init(honest_init);
module_exit(honest_exit);
MODULE_LICENSE("GPL");
