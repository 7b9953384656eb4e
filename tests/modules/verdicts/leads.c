// SPDX-License-Identifier: GPL-2.0
// What the kernel keeps a pointer to: `what` is registered in init, and taken back in exit unless `leave` is set.
#include <crypto/algapi.h>
#include <linux/binfmts.h>
#include <linux/cdev.h>
#include <linux/console.h>
#include <linux/cpuhotplug.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/netlink.h>
#include <linux/platform_device.h>
#include <linux/sysrq.h>
#include <linux/tty.h>
#include <linux/tty_ldisc.h>
#include <net/net_namespace.h>
#include <net/sock.h>

static char *what = "";
module_param(what, charp, 0444);
static bool leave;
module_param(leave, bool, 0600);

static bool is(const char *name) { return !strcmp(what, name); }

static dev_t number;
static struct cdev character;
static const struct file_operations nothing = { .owner = THIS_MODULE };

static int load_binary(struct linux_binprm *program) { return -ENOEXEC; }
static struct linux_binfmt format = { .module = THIS_MODULE, .load_binary = load_binary };

static void written(struct console *console, const char *text, unsigned int size) { }
static struct console silent = { .name = "leads", .write = written, .flags = CON_ENABLED, .index = -1 };

static int online(unsigned int cpu) { return 0; }
static int state;

static int received(struct sk_buff *skb, struct net_device *dev, struct packet_type *type, struct net_device *from)
{
	kfree_skb(skb);
	return 0;
}
static struct packet_type packets = { .type = htons(0x88b5), .func = received };

static int net_init(struct net *net) { return 0; }
static struct pernet_operations per_namespace = { .init = net_init };

static struct tty_ldisc_ops discipline = { .owner = THIS_MODULE, .num = 28, .name = "leads" };

static const struct sysrq_key_op key = { .help_msg = "leads(x)", .action_msg = "leads", .enable_mask = 1 };

static int set_key(struct crypto_tfm *tfm, const u8 *value, unsigned int size) { return 0; }
static void copy(struct crypto_tfm *tfm, u8 *to, const u8 *from) { memcpy(to, from, 16); }
static struct crypto_alg cipher = {
	.cra_name = "leads", .cra_driver_name = "leads-generic", .cra_flags = CRYPTO_ALG_TYPE_CIPHER,
	.cra_blocksize = 16, .cra_module = THIS_MODULE,
	.cra_u = { .cipher = { 16, 16, set_key, copy, copy } },
};

static struct sock *netlink;
static void asked(struct sk_buff *skb) { }
static struct socket *udp;

static int *volatile nowhere;
static ssize_t device_read(struct file *file, char __user *buffer, size_t size, loff_t *position)
{
	return *nowhere; /* the bad read */
}
static const struct file_operations reads = { .owner = THIS_MODULE, .read = device_read };
static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = "leads", .fops = &nothing };
static struct miscdevice bad_device = { .minor = MISC_DYNAMIC_MINOR, .name = "leads", .fops = &reads };
static ssize_t value_show(struct device *dev, struct device_attribute *attribute, char *page)
{
	return sysfs_emit(page, "%d\n", *nowhere); /* the bad attribute */
}
static DEVICE_ATTR_RO(value);
static ssize_t version_show(struct device_driver *driver, char *page)
{
	WARN(1, "leads: this is why\n"); /* the warning */
	return 0;
}
static DRIVER_ATTR_RO(version);
static struct platform_driver driver = { .driver = { .name = "leads" } };

static int listens(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(7777) };
	int error = sock_create_kern(&init_net, AF_INET, SOCK_DGRAM, IPPROTO_UDP, &udp);

	return error ?: kernel_bind(udp, (struct sockaddr *)&address, sizeof(address));
}

static int __init leads_init(void)
{
	struct netlink_kernel_cfg config = { .input = asked };

	if (is("cdev")) {
		cdev_init(&character, &nothing);
		return alloc_chrdev_region(&number, 0, 1, "leads") ?: cdev_add(&character, number, 1);
	}
	if (is("format"))
		register_binfmt(&format);
	if (is("console"))
		register_console(&silent);
	if (is("cpu"))
		return min(state = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "leads:online", online, NULL), 0);
	if (is("packets"))
		dev_add_pack(&packets);
	if (is("namespace"))
		return register_pernet_subsys(&per_namespace);
	if (is("discipline"))
		return tty_register_ldisc(&discipline);
	if (is("sysrq"))
		return register_sysrq_key('x', &key);
	if (is("cipher"))
		return crypto_register_alg(&cipher);
	if (is("netlink"))
		return (netlink = netlink_kernel_create(&init_net, 29, &config)) ? 0 : -ENOMEM;
	if (is("udp"))
		return listens();
	if (is("read"))
		return misc_register(&bad_device);
	if (is("attribute"))
		return misc_register(&device) ?: device_create_file(device.this_device, &dev_attr_value);
	if (is("driver"))
		return platform_driver_register(&driver) ?: driver_create_file(&driver.driver, &driver_attr_version);
	return 0;
}

static void __exit leads_exit(void)
{
	if (is("read"))
		misc_deregister(&bad_device);
	if (is("attribute"))
		misc_deregister(&device);
	if (is("driver"))
		platform_driver_unregister(&driver);
	if (is("cdev"))
		unregister_chrdev_region(number, 1);
	if (leave)
		return;
	if (is("cdev"))
		cdev_del(&character);
	if (is("format"))
		unregister_binfmt(&format);
	if (is("console"))
		unregister_console(&silent);
	if (is("cpu"))
		cpuhp_remove_state(state);
	if (is("packets"))
		dev_remove_pack(&packets);
	if (is("namespace"))
		unregister_pernet_subsys(&per_namespace);
	if (is("discipline"))
		tty_unregister_ldisc(&discipline);
	if (is("sysrq"))
		unregister_sysrq_key('x', &key);
	if (is("cipher"))
		crypto_unregister_alg(&cipher);
	if (is("netlink"))
		netlink_kernel_release(netlink);
	if (is("udp"))
		sock_release(udp);
}

module_init(leads_init);
module_exit(leads_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("What the kernel keeps a pointer to");
