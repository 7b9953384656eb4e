// SPDX-License-Identifier: GPL-2.0
/* Makes one thing (`what`) in init, and undoes it in exit unless `leave` is set; with `fail` init fails after it. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <crypto/internal/hash.h>
#include <linux/binfmts.h>
#include <linux/blkdev.h>
#include <linux/cdev.h>
#include <linux/cpuhotplug.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/etherdevice.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/inetdevice.h>
#include <linux/input.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/platform_device.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/reboot.h>
#include <linux/slab.h>
#include <linux/seq_file.h>
#include <linux/sysctl.h>
#include <linux/timer.h>
#include <linux/tracepoint.h>
#include <linux/version.h>
#include <linux/workqueue.h>
#include <net/genetlink.h>
#include <net/protocol.h>
#include <net/rtnetlink.h>
#include <net/net_namespace.h>

static char *what = "";
module_param(what, charp, 0444);
static bool leave;
module_param(leave, bool, 0444);
static int fail;
module_param(fail, int, 0444);

static const struct file_operations left_fops = { .owner = THIS_MODULE };

/* ---- what waits ---- */
static void left_timer_fired(struct timer_list *unused) {}
static DEFINE_TIMER(left_timer, left_timer_fired);
static int make_timer(void)
{
	mod_timer(&left_timer, jiffies + 100 * HZ);	/* makes timer */
	return 0;
}
static void undo_timer(void) { timer_shutdown_sync(&left_timer); }

static struct hrtimer left_clock;
static enum hrtimer_restart left_clock_fired(struct hrtimer *unused) { return HRTIMER_NORESTART; }
static int make_hrtimer(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(&left_clock, left_clock_fired, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
#else
	hrtimer_init(&left_clock, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	left_clock.function = left_clock_fired;
#endif
	hrtimer_start(&left_clock, ms_to_ktime(100000), HRTIMER_MODE_REL);	/* makes hrtimer */
	return 0;
}
static void undo_hrtimer(void) { hrtimer_cancel(&left_clock); }

static void left_worked(struct work_struct *unused) {}
static DECLARE_DELAYED_WORK(left_later, left_worked);
static int make_delayed(void)
{
	schedule_delayed_work(&left_later, 100 * HZ);	/* makes delayed */
	return 0;
}
static void undo_delayed(void) { cancel_delayed_work_sync(&left_later); }

static volatile int left_times;
static void left_slowly(struct work_struct *unused)
{
	msleep(100000);	/* sleeps in the module */
	left_times++;
}
static DECLARE_WORK(left_slow_work, left_slowly);
static DECLARE_WORK(left_work, left_worked);
static struct workqueue_struct *left_queue;
static int make_work(void)
{
	left_queue = alloc_ordered_workqueue("left_work", 0);
	if (!left_queue)
		return -ENOMEM;
	queue_work(left_queue, &left_slow_work);
	queue_work(left_queue, &left_work);	/* makes work */
	msleep(10);
	return 0;
}
static void undo_work(void)
{
	cancel_work_sync(&left_work);
	cancel_work_sync(&left_slow_work);
	destroy_workqueue(left_queue);
}

static int left_main(void *unused)
{
	while (!kthread_should_stop())
		schedule_timeout_interruptible(HZ);
	return 0;
}
static struct task_struct *left_thread;
static int make_kthread(void)
{
	left_thread = kthread_run(left_main, NULL, "left/%d", 1);	/* makes kthread */
	return PTR_ERR_OR_ZERO(left_thread);
}
static void undo_kthread(void) { kthread_stop(left_thread); }

static void left_called(struct rcu_head *unused) {}
static struct rcu_head left_head;
static int make_rcu(void) { return 0; }
static void undo_rcu(void)
{
	call_rcu(&left_head, left_called);	/* makes rcu */
	if (!leave)
		rcu_barrier();
}

static void left_tasklet_fn(unsigned long unused) {}
static DECLARE_TASKLET_OLD(left_tasklet, left_tasklet_fn);
static int make_tasklet(void)
{
	tasklet_disable(&left_tasklet);
	tasklet_schedule(&left_tasklet);	/* makes tasklet */
	return 0;
}
static void undo_tasklet(void)
{
	tasklet_enable(&left_tasklet);
	tasklet_kill(&left_tasklet);
}

/* ---- devices ---- */
static dev_t left_numbers;
static int make_region(void) { return alloc_chrdev_region(&left_numbers, 0, 4, "left_region"); /* makes region */ }
static void undo_region(void) { unregister_chrdev_region(left_numbers, 4); }

static int left_major;
static int make_chrdev(void)
{
	left_major = register_chrdev(0, "left_chrdev", &left_fops);	/* makes chrdev */
	return left_major < 0 ? left_major : 0;
}
static void undo_chrdev(void) { unregister_chrdev(left_major, "left_chrdev"); }

static struct cdev left_cdev;
static int make_cdev(void)
{
	int err = alloc_chrdev_region(&left_numbers, 0, 1, "left_cdev");

	if (err)
		return err;
	cdev_init(&left_cdev, &left_fops);
	left_cdev.owner = THIS_MODULE;
	err = cdev_add(&left_cdev, left_numbers, 1);	/* makes cdev */
	unregister_chrdev_region(left_numbers, 1);
	return err;
}
static void undo_cdev(void) { cdev_del(&left_cdev); }

static struct miscdevice left_misc = { .minor = MISC_DYNAMIC_MINOR, .name = "left_misc", .fops = &left_fops };
static int make_misc(void) { return misc_register(&left_misc); /* makes misc */ }
static void undo_misc(void) { misc_deregister(&left_misc); }

static struct class *left_class;
static int make_class(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	left_class = class_create("left_class");	/* makes class now */
#else
	left_class = class_create(THIS_MODULE, "left_class");	/* makes class before */
#endif
	return PTR_ERR_OR_ZERO(left_class);
}
static void undo_class(void) { class_destroy(left_class); }

static struct device *left_device;
static int make_device(void)
{
	left_device = root_device_register("left_root");	/* makes device */
	return PTR_ERR_OR_ZERO(left_device);
}
static void undo_device(void) { root_device_unregister(left_device); }

static struct platform_device *left_platform;
static int make_platform_device(void)
{
	left_platform = platform_device_register_simple("left_pdev", -1, NULL, 0);	/* makes platform_device */
	return PTR_ERR_OR_ZERO(left_platform);
}
static void undo_platform_device(void) { platform_device_unregister(left_platform); }

static struct platform_driver left_driver = { .driver = { .name = "left_driver" } };
static int make_driver(void) { return platform_driver_register(&left_driver); /* makes driver */ }
static void undo_driver(void) { platform_driver_unregister(&left_driver); }

static struct input_dev *left_input;
static int make_input(void)
{
	left_input = input_allocate_device();
	if (!left_input)
		return -ENOMEM;
	left_input->name = "left_input";
	left_input->evbit[0] = BIT_MASK(EV_KEY);
	return input_register_device(left_input);	/* makes input */
}
static void undo_input(void) { input_unregister_device(left_input); }

static irqreturn_t left_irq(int irq, void *unused) { return IRQ_NONE; }
static int make_irq(void) { return request_irq(5, left_irq, 0, "left_irq", &left_major); /* makes irq */ }
static void undo_irq(void) { free_irq(5, &left_major); }

static int make_ports(void) { return request_region(0x300, 8, "left_ports") ? 0 : -EBUSY; /* makes ports */ }
static void undo_ports(void) { release_region(0x300, 8); }

static void __iomem *left_mapping;
static int make_ioremap(void)
{
	left_mapping = ioremap(0xfebc0000, 4096);	/* makes ioremap */
	return left_mapping ? 0 : -ENOMEM;
}
static void undo_ioremap(void) { iounmap(left_mapping); }

/* ---- file systems ---- */
static const struct proc_ops left_proc_ops = { };
static struct proc_dir_entry *left_proc;
static int make_proc(void)
{
	left_proc = proc_create("left_proc", 0444, NULL, &left_proc_ops);	/* makes proc */
	return left_proc ? 0 : -ENOMEM;
}
static void undo_proc(void) { remove_proc_entry("left_proc", NULL); }

static int make_proc_dir(void)
{
	left_proc = proc_mkdir("left_dir", NULL);	/* makes proc_dir */
	if (!left_proc)
		return -ENOMEM;
	return proc_create("inner", 0444, left_proc, &left_proc_ops) ? 0 : -ENOMEM;
}
static void undo_proc_dir(void) { proc_remove(left_proc); }

static struct dentry *left_debugfs;
static int make_debugfs(void)
{
	left_debugfs = debugfs_create_dir("left_debugfs", NULL);	/* makes debugfs */
	debugfs_create_file("file", 0444, left_debugfs, NULL, &left_fops);	/* makes debugfs file */
	return 0;
}
static void undo_debugfs(void) { debugfs_remove(left_debugfs); }

static ssize_t left_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf) { return 0; }
static struct kobj_attribute left_attribute = __ATTR(left_attribute, 0444, left_show, NULL);
static int make_sysfs(void) { return sysfs_create_file(kernel_kobj, &left_attribute.attr); /* makes sysfs */ }
static void undo_sysfs(void) { sysfs_remove_file(kernel_kobj, &left_attribute.attr); }

static struct kobject *left_kobject;
static int make_kobject(void)
{
	left_kobject = kobject_create_and_add("left_kobject", kernel_kobj);	/* makes kobject */
	return left_kobject ? 0 : -ENOMEM;
}
static void undo_kobject(void) { kobject_put(left_kobject); }

static struct file_system_type left_fs = { .owner = THIS_MODULE, .name = "left_fs" };
static int make_filesystem(void) { return register_filesystem(&left_fs); /* makes filesystem */ }
static void undo_filesystem(void) { unregister_filesystem(&left_fs); }

static int left_value;
static struct ctl_table left_table[] = {
	{ .procname = "left_sysctl", .data = &left_value, .maxlen = sizeof(int), .mode = 0444, .proc_handler = proc_dointvec },
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
	{ }
#endif
};
static struct ctl_table_header *left_sysctl;
static int make_sysctl(void)
{
	left_sysctl = register_sysctl("kernel", left_table);	/* makes sysctl */
	return left_sysctl ? 0 : -ENOMEM;
}
static void undo_sysctl(void) { unregister_sysctl_table(left_sysctl); }

static struct file *left_file;
static int make_file(void)
{
	left_file = filp_open("/proc/version", O_RDONLY, 0);	/* makes file */
	return PTR_ERR_OR_ZERO(left_file);
}
static void undo_file(void) { filp_close(left_file, NULL); }

static int left_load(struct linux_binprm *unused) { return -ENOEXEC; }
static struct linux_binfmt left_format = { .module = THIS_MODULE, .load_binary = left_load };
static int make_binfmt(void)
{
	register_binfmt(&left_format);	/* makes binfmt */
	return 0;
}
static void undo_binfmt(void) { unregister_binfmt(&left_format); }

/* ---- the network ---- */
static struct net_device *left_netdev;
static netdev_tx_t left_xmit(struct sk_buff *skb, struct net_device *unused)
{
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}
static const struct net_device_ops left_netdev_ops = { .ndo_start_xmit = left_xmit };
static void left_setup(struct net_device *dev)
{
	ether_setup(dev);
	dev->netdev_ops = &left_netdev_ops;
	dev->needs_free_netdev = true;
	eth_hw_addr_random(dev);
}
static int make_netdev(void)
{
	left_netdev = alloc_netdev(0, "left%d", NET_NAME_UNKNOWN, left_setup);
	return left_netdev ? register_netdev(left_netdev) : -ENOMEM;	/* makes netdev */
}
static void undo_netdev(void) { unregister_netdev(left_netdev); }

static unsigned int left_hook(void *unused, struct sk_buff *skb, const struct nf_hook_state *state) { return NF_ACCEPT; }
static const struct nf_hook_ops left_hook_ops = { .hook = left_hook, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_IN };
static int make_nf_hook(void) { return nf_register_net_hook(&init_net, &left_hook_ops); /* makes nf_hook */ }
static void undo_nf_hook(void) { nf_unregister_net_hook(&init_net, &left_hook_ops); }

static int __net_init left_net_init(struct net *unused) { return 0; }
static struct pernet_operations left_pernet = { .init = left_net_init };
static int make_pernet(void) { return register_pernet_subsys(&left_pernet); /* makes pernet */ }
static void undo_pernet(void) { unregister_pernet_subsys(&left_pernet); }

static struct genl_family left_family = { .name = "left_family", .version = 1, .module = THIS_MODULE };
static int make_genl(void) { return genl_register_family(&left_family); /* makes genl */ }
static void undo_genl(void) { genl_unregister_family(&left_family); }

static struct socket *left_socket;
static int make_socket(void)
{
	return sock_create_kern(&init_net, AF_INET, SOCK_DGRAM, 0, &left_socket);	/* makes socket */
}
static void undo_socket(void) { sock_release(left_socket); }

/* ---- being called ---- */
static int left_notified(struct notifier_block *nb, unsigned long event, void *data) { return NOTIFY_DONE; }
static struct notifier_block left_block = { .notifier_call = left_notified };
static int make_notifier(void) { return register_reboot_notifier(&left_block); /* makes notifier */ }
static void undo_notifier(void) { unregister_reboot_notifier(&left_block); }

static int left_probed(struct kprobe *unused, struct pt_regs *regs) { return 0; }
static struct kprobe left_kprobe = { .symbol_name = "ksys_read", .pre_handler = left_probed };
static int make_kprobe(void) { return register_kprobe(&left_kprobe); /* makes kprobe */ }
static void undo_kprobe(void) { unregister_kprobe(&left_kprobe); }

static int left_online(unsigned int unused) { return 0; }
static int left_state;
static int make_cpuhp(void)
{
	left_state = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "left:online", left_online, NULL);	/* makes cpuhp */
	return left_state < 0 ? left_state : 0;
}
static void undo_cpuhp(void) { cpuhp_remove_state(left_state); }

static int make_workqueue(void)
{
	left_queue = alloc_workqueue("left_queue", WQ_UNBOUND, 0);	/* makes workqueue */
	return left_queue ? 0 : -ENOMEM;
}
static void undo_workqueue(void) { destroy_workqueue(left_queue); }

static struct kmem_cache *left_cache;
static int make_cache(void)
{
	left_cache = kmem_cache_create("left_cache", 72, 0, 0, NULL);	/* makes cache */
	return left_cache ? 0 : -ENOMEM;
}
static void undo_cache(void) { kmem_cache_destroy(left_cache); }

static struct crypto_shash *left_hash;
static int make_tfm(void)
{
	left_hash = crypto_alloc_shash("sha256", 0, 0);	/* makes tfm */
	return PTR_ERR_OR_ZERO(left_hash);
}
static void undo_tfm(void) { crypto_free_shash(left_hash); }

static int left_digest(struct shash_desc *desc, const u8 *data, unsigned int size, u8 *out) { return 0; }
static int left_start(struct shash_desc *desc) { return 0; }
static int left_update(struct shash_desc *desc, const u8 *data, unsigned int size) { return 0; }
static int left_final(struct shash_desc *desc, u8 *out) { return 0; }
static struct shash_alg left_alg = {
	.init = left_start, .update = left_update, .final = left_final, .digest = left_digest, .digestsize = 4,
	.base = { .cra_name = "left", .cra_driver_name = "left-alg", .cra_blocksize = 1, .cra_module = THIS_MODULE },
};
static int make_alg(void) { return crypto_register_shash(&left_alg); /* makes alg */ }
static void undo_alg(void) { crypto_unregister_shash(&left_alg); }

static struct device *left_held;
static int make_reference(void)
{
	left_held = root_device_register("left_held");
	if (IS_ERR(left_held))
		return PTR_ERR(left_held);
	get_device(left_held);	/* makes reference */
	return 0;
}
static void undo_reference(void)
{
	if (!leave)
		put_device(left_held);
	root_device_unregister(left_held);
}

static struct attribute *left_group_attributes[] = { &left_attribute.attr, NULL };
static const struct attribute_group left_group = { .name = "left_group", .attrs = left_group_attributes };
static int make_group(void) { return sysfs_create_group(kernel_kobj, &left_group); /* makes group */ }
static void undo_group(void) { sysfs_remove_group(kernel_kobj, &left_group); }

static struct kset *left_kset;
static int make_kset(void)
{
	left_kset = kset_create_and_add("left_kset", NULL, kernel_kobj);	/* makes kset */
	return left_kset ? 0 : -ENOMEM;
}
static void undo_kset(void) { kset_unregister(left_kset); }

static u32 left_number;
static int make_number(void)
{
	debugfs_create_u32("left_number", 0444, NULL, &left_number);	/* makes number */
	return 0;
}
static void undo_number(void)
{
	debugfs_lookup_and_remove("left_number", NULL);
}

static int left_received(struct sk_buff *skb, struct net_device *dev, struct packet_type *pt, struct net_device *orig)
{
	kfree_skb(skb);
	return 0;
}
static struct packet_type left_packets = { .type = cpu_to_be16(0x88b5), .func = left_received };
static int make_packets(void)
{
	dev_add_pack(&left_packets);	/* makes packets */
	return 0;
}
static void undo_packets(void) { dev_remove_pack(&left_packets); }

static struct rtnl_link_ops left_link = { .kind = "left_link", .setup = left_setup };
static int make_link(void) { return rtnl_link_register(&left_link); /* makes link */ }
static void undo_link(void) { rtnl_link_unregister(&left_link); }

static struct bus_type left_bus = { .name = "left_bus" };
static int make_bus(void) { return bus_register(&left_bus); /* makes bus */ }
static void undo_bus(void) { bus_unregister(&left_bus); }

static int left_returned(struct kretprobe_instance *unused, struct pt_regs *regs) { return 0; }
static struct kretprobe left_kretprobe = { .kp.symbol_name = "ksys_write", .handler = left_returned };
static int make_kretprobe(void) { return register_kretprobe(&left_kretprobe); /* makes kretprobe */ }
static void undo_kretprobe(void) { unregister_kretprobe(&left_kretprobe); }

static struct kprobe *left_probes[1] = { &left_kprobe };
static int make_kprobes(void) { return register_kprobes(left_probes, 1); /* makes kprobes */ }
static void undo_kprobes(void) { unregister_kprobes(left_probes, 1); }

static struct net_protocol left_protocol = { .handler = NULL, .no_policy = 1 };
static int make_pair(void) { return inet_add_protocol(&left_protocol, 253); /* makes pair */ }
static void undo_pair(void) { inet_del_protocol(&left_protocol, 253); }

static void left_find(struct tracepoint *tp, void *found)
{
	if (!strcmp(tp->name, "module_get"))
		*(struct tracepoint **)found = tp;
}
static void left_traced(void *unused) {}
static struct tracepoint *left_tracepoint;
static int make_tracepoint(void)
{
	for_each_kernel_tracepoint(left_find, &left_tracepoint);
	if (!left_tracepoint)
		return -ENOENT;
	return tracepoint_probe_register(left_tracepoint, left_traced, NULL);	/* makes tracepoint */
}
static void undo_tracepoint(void)
{
	tracepoint_probe_unregister(left_tracepoint, left_traced, NULL);
	tracepoint_synchronize_unregister();
}

static void left_event(struct input_handle *handle, unsigned int type, unsigned int code, int value) {}
static int left_connect(struct input_handler *h, struct input_dev *d, const struct input_device_id *id) { return -ENODEV; }
static void left_disconnect(struct input_handle *handle) {}
static const struct input_device_id left_ids[] = { { } };
static struct input_handler left_handler = {
	.event = left_event, .connect = left_connect, .disconnect = left_disconnect, .name = "left_handler", .id_table = left_ids,
};
static int make_handler(void) { return input_register_handler(&left_handler); /* makes handler */ }
static void undo_handler(void) { input_unregister_handler(&left_handler); }

static struct gendisk *left_disk;
static int make_disk(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	left_disk = blk_alloc_disk(NULL, NUMA_NO_NODE);	/* makes disk now */
	if (IS_ERR(left_disk))
		return PTR_ERR(left_disk);
#else
	left_disk = blk_alloc_disk(NUMA_NO_NODE);	/* makes disk before */
	if (!left_disk)
		return -ENOMEM;
#endif
	strscpy(left_disk->disk_name, "left_disk", DISK_NAME_LEN);
	return 0;
}
static void undo_disk(void) { put_disk(left_disk); }

static struct file *left_sequence;
static int left_shown(struct seq_file *sequence, void *unused) { return 0; }
static int make_sequence(void)
{
	left_sequence = filp_open("/dev/null", O_RDONLY, 0);
	if (IS_ERR(left_sequence))
		return PTR_ERR(left_sequence);
	return single_open(left_sequence, left_shown, NULL);	/* makes sequence */
}
static void undo_sequence(void)
{
	single_release(file_inode(left_sequence), left_sequence);
	filp_close(left_sequence, NULL);
}

static int make_itself(void) { return try_module_get(THIS_MODULE) ? 0 : -EBUSY; /* makes itself */ }
static void undo_itself(void) { }

#define LEFT(name) { #name, make_##name, undo_##name }
static const struct left_kind {
	const char *name;
	int (*make)(void);
	void (*undo)(void);
} left_kinds[] = {
	LEFT(timer), LEFT(hrtimer), LEFT(delayed), LEFT(work), LEFT(kthread), LEFT(rcu), LEFT(tasklet),
	LEFT(region), LEFT(chrdev), LEFT(cdev), LEFT(misc), LEFT(class), LEFT(device), LEFT(platform_device), LEFT(driver),
	LEFT(input), LEFT(irq), LEFT(ports), LEFT(ioremap),
	LEFT(proc), LEFT(proc_dir), LEFT(debugfs), LEFT(sysfs), LEFT(kobject), LEFT(filesystem), LEFT(sysctl), LEFT(file),
	LEFT(binfmt),
	LEFT(netdev), LEFT(nf_hook), LEFT(pernet), LEFT(genl), LEFT(socket),
	LEFT(notifier), LEFT(kprobe), LEFT(cpuhp), LEFT(workqueue), LEFT(cache), LEFT(tfm), LEFT(alg), LEFT(reference),
	LEFT(group), LEFT(kset), LEFT(number), LEFT(packets), LEFT(link), LEFT(bus), LEFT(kretprobe), LEFT(kprobes), LEFT(pair),
	LEFT(tracepoint), LEFT(handler), LEFT(disk), LEFT(sequence), LEFT(itself),
};

static const struct left_kind *left_kind;

static int __init left_init(void)
{
	int i, err;

	for (i = 0; i < ARRAY_SIZE(left_kinds); i++)
		if (!strcmp(what, left_kinds[i].name))
			left_kind = &left_kinds[i];
	if (!left_kind)
		return -EINVAL;
	err = left_kind->make();
	if (err)
		return err;
	if (fail) {
		if (!leave)
			left_kind->undo();
		return -ENODEV;
	}
	return 0;
}

static void __exit left_exit(void)
{
	if (!leave || !strcmp(what, "rcu") || !strcmp(what, "reference"))
		left_kind->undo();
}

module_init(left_init);
module_exit(left_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Leaves things behind");
