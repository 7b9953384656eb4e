// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel lends to a module, used wrongly, and (right=1) rightly: packets, private areas behind objects of the
 * kernel's, contexts of algorithms, pages of user space. `what` names the case.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <crypto/internal/hash.h>
#include <linux/etherdevice.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("uses what the kernel lends");

static char *what = "";
module_param(what, charp, 0);
static bool right;
module_param(right, bool, 0);
static volatile unsigned int seen;

/* A header behind the linear part of a packet. */
static int receive(struct sk_buff *skb, struct net_device *device, struct packet_type *type, struct net_device *from)
{
	u8 copy[4], *bytes = skb->data + 60;

	if (skb->len > 1000 && skb_headlen(skb) < 60) {
		if (right)
			bytes = skb_header_pointer(skb, 60, 4, copy);
		if (bytes)
			seen += bytes[1]; /* linear: bad */
	}
	kfree_skb(skb);
	return 0;
}

static struct packet_type packets = { .type = cpu_to_be16(ETH_P_ALL), .func = receive };

struct private {
	u64 packets, bytes;
};

static netdev_tx_t send(struct sk_buff *skb, struct net_device *device)
{
	struct private *own = netdev_priv(device);
	struct iphdr *ip = (void *)(skb->data + ETH_HLEN);
	unsigned int old = skb->len, more = 16;

	if (!strcmp(what, "short")) {
		if (!right || skb_headlen(skb) >= ETH_HLEN + sizeof(*ip))
			seen += ip->ttl; /* short: bad */
	} else if (!strcmp(what, "pad")) {
		/* What the module has written, and what skb_put() has made part of the packet, may be read. */
		if (skb_tailroom(skb) >= 2 * more) {
			memset(skb_tail_pointer(skb), 1, more);
			seen += skb_tail_pointer(skb)[3];
			skb_put(skb, 2 * more);
			seen += skb->data[old + more + 5];
		}
	} else {
		own->packets++;
		own->bytes += skb->len; /* private: bad */
	}
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}

static const struct net_device_ops operations = { .ndo_start_xmit = send };
static struct net_device *netdev;

static void set_up(struct net_device *device)
{
	ether_setup(device);
	device->netdev_ops = &operations;
	eth_hw_addr_random(device);
}

static int make_netdev(void)
{
	int error;

	netdev = alloc_netdev(right || strcmp(what, "private") ? sizeof(struct private) : 8, "lent%d", NET_NAME_UNKNOWN, set_up);
	if (!netdev)
		return -ENOMEM;
	error = register_netdev(netdev);
	if (error)
		free_netdev(netdev);
	return error;
}

/* An algorithm whose context is larger than it says. */
struct sum {
	u32 sum, block[16];
};

static int sum_init(struct shash_desc *desc)
{
	struct sum *sum = shash_desc_ctx(desc);

	sum->sum = 0;
	sum->block[3] = 0; /* context: bad */
	return 0;
}

static int sum_update(struct shash_desc *desc, const u8 *data, unsigned int size)
{
	struct sum *sum = shash_desc_ctx(desc);

	while (size--)
		sum->sum += *data++;
	return 0;
}

static int sum_final(struct shash_desc *desc, u8 *out)
{
	memcpy(out, shash_desc_ctx(desc), 4);
	return 0;
}

static struct shash_alg algorithm = {
	.digestsize = 4,
	.init = sum_init,
	.update = sum_update,
	.final = sum_final,
	.base = { .cra_name = "lent", .cra_driver_name = "lent-generic", .cra_blocksize = 1, .cra_module = THIS_MODULE },
};

/* A buffer that the kernel has allocated for as many bytes as are read. */
static ssize_t show_all(struct file *file, struct kobject *kobject, struct bin_attribute *attribute, char *buffer,
			loff_t at, size_t size)
{
	static const char all[100];

	memcpy(buffer, all, right ? min(size, sizeof(all)) : sizeof(all)); /* attribute: bad */
	return size;
}

static struct bin_attribute attribute = { .attr = { .name = "all", .mode = 0444 }, .read = (void *)show_all };

/* A page of user space that is kept; what is copied from one that is not there yet. */
static ssize_t flip(struct file *file, const char __user *user, size_t size, loff_t *at)
{
	struct page *page;
	void *copy;

	if (!strcmp(what, "fault")) {
		copy = memdup_user(user, size); /* fault: made */
		if (IS_ERR(copy))
			return PTR_ERR(copy);
		if (right)
			kfree(copy);
		return size;
	}
	if (get_user_pages_fast((unsigned long)user, 1, FOLL_WRITE, &page) != 1) /* pages: bad */
		return -EFAULT;
	if (right)
		put_page(page);
	return size;
}

static const struct file_operations files = { .owner = THIS_MODULE, .write = flip };
static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = "lent", .fops = &files };

static int __init lent_init(void)
{
	if (!strcmp(what, "linear")) {
		dev_add_pack(&packets);
		return 0;
	}
	if (!strcmp(what, "context")) {
		algorithm.descsize = right ? sizeof(struct sum) : 8;
		return crypto_register_shash(&algorithm);
	}
	if (!strcmp(what, "pages") || !strcmp(what, "fault"))
		return misc_register(&device);
	if (!strcmp(what, "attribute"))
		return sysfs_create_bin_file(&THIS_MODULE->mkobj.kobj, &attribute);
	return make_netdev();
}

static void __exit lent_exit(void)
{
	if (!strcmp(what, "linear")) {
		dev_remove_pack(&packets);
	} else if (!strcmp(what, "context")) {
		crypto_unregister_shash(&algorithm);
	} else if (!strcmp(what, "pages") || !strcmp(what, "fault")) {
		misc_deregister(&device);
	} else if (!strcmp(what, "attribute")) {
		sysfs_remove_bin_file(&THIS_MODULE->mkobj.kobj, &attribute);
	} else {
		unregister_netdev(netdev);
		free_netdev(netdev);
	}
}

module_init(lent_init);
module_exit(lent_exit);
