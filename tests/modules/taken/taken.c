// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Functions that the kernel hands packets, requests and buffers, and that lose or overrun them (right=1: that do not).
 * `what` names the case.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/module.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/rtnetlink.h>
#include <linux/version.h>
#include <net/protocol.h>

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("loses what it is given");

#define PROTOCOL 253
#define FRAME 0x88b6
#define STRINGS 5

static char *what = "";
module_param(what, charp, 0);
static bool right;
module_param(right, bool, 0);
static unsigned int seen;

static bool is(const char *name)
{
	return !strcmp(what, name);
}

/* a type of frames of its own */
static int frame(struct sk_buff *skb, struct net_device *dev, struct packet_type *type, struct net_device *orig)
{
	if (skb->len < 8) {
		seen++;
		if (right)
			kfree_skb(skb);
		return NET_RX_DROP; /* frame: bad */
	}
	consume_skb(skb);
	return NET_RX_SUCCESS;
}

static struct packet_type type = { .type = htons(FRAME), .func = frame };

/* a netfilter hook that keeps small packets */
static unsigned int hook(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	if (skb->len > 64)
		return NF_ACCEPT;
	seen++;
	if (right)
		kfree_skb(skb);
	return NF_STOLEN; /* hook: bad */
}

static const struct nf_hook_ops hooked = {
	.hook = hook, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_IN, .priority = NF_IP_PRI_FIRST,
};

/* a protocol of IP */
static int protocol(struct sk_buff *skb)
{
	if (skb->len > 20) {
		kfree_skb(skb);
		return 0;
	}
	seen++;
	if (right)
		kfree_skb(skb);
	return 0; /* protocol: bad */
}

static const struct net_protocol handled = { .handler = protocol, .no_policy = 1 };

/* frames of the loopback interface, before anybody else sees them */
static rx_handler_result_t receive(struct sk_buff **pskb)
{
	if ((*pskb)->protocol != htons(FRAME))
		return RX_HANDLER_PASS;
	seen++;
	if (right)
		kfree_skb(*pskb);
	return RX_HANDLER_CONSUMED; /* receive: bad */
}

static struct net_device *loopback(void)
{
	return __dev_get_by_name(&init_net, "lo");
}

/* an interface with statistics and registers */
static struct net_device *netdev;

static netdev_tx_t send(struct sk_buff *skb, struct net_device *dev)
{
	if (skb->len > 100) {
		seen++;
		if (right || !is("send"))
			dev_kfree_skb(skb);
		return NETDEV_TX_OK; /* send: bad */
	}
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}

static int count(struct net_device *dev, int set)
{
	return set == ETH_SS_STATS || set == ETH_SS_TEST ? STRINGS : -EOPNOTSUPP;
}

static void strings(struct net_device *dev, u32 set, u8 *buffer)
{
	memset(buffer, 'x', (STRINGS + (!right && is("strings"))) * ETH_GSTRING_LEN); /* strings: bad */
}

static void statistics(struct net_device *dev, struct ethtool_stats *stats, u64 *numbers)
{
	int n;

	for (n = 0; n < STRINGS + (!right && is("statistics")); n++)
		numbers[n] = n; /* statistics: bad */
}

static void test(struct net_device *dev, struct ethtool_test *asked, u64 *numbers)
{
	int n;

	for (n = 0; n < STRINGS + (!right && is("test")); n++)
		numbers[n] = 0; /* test: bad */
}

static int registers_length(struct net_device *dev)
{
	return 48;
}

static void registers(struct net_device *dev, struct ethtool_regs *regs, void *buffer)
{
	memset(buffer, 0, 48 + 8 * (!right && is("registers"))); /* registers: bad */
}

static const struct net_device_ops netdev_ops = { .ndo_start_xmit = send };
static const struct ethtool_ops ethtool_ops = {
	.get_sset_count = count, .get_strings = strings, .get_ethtool_stats = statistics, .self_test = test,
	.get_regs_len = registers_length, .get_regs = registers,
};

static int netdev_init(void)
{
	int err;

	netdev = alloc_etherdev(0);
	if (!netdev)
		return -ENOMEM;
	netdev->netdev_ops = &netdev_ops;
	netdev->ethtool_ops = &ethtool_ops;
	eth_hw_addr_random(netdev);
	err = register_netdev(netdev);
	if (err)
		free_netdev(netdev);
	return err;
}

/* a disk of 64 sectors, whose second half has no answer */
static struct blk_mq_tag_set tags;
static struct gendisk *disk;
static int major;

static blk_status_t queue(struct blk_mq_hw_ctx *hctx, const struct blk_mq_queue_data *data)
{
	struct request *request = data->rq;
	struct req_iterator iterator;
	struct bio_vec vector;

	blk_mq_start_request(request);
	if (blk_rq_pos(request) >= 32) {
		seen++;
		if (right)
			blk_mq_end_request(request, BLK_STS_IOERR);
		return BLK_STS_OK; /* request: bad */
	}
	rq_for_each_segment(vector, request, iterator)
		if (!op_is_write(req_op(request)))
			memset(bvec_virt(&vector), 0, vector.bv_len);
	blk_mq_end_request(request, BLK_STS_OK);
	return BLK_STS_OK;
}

static void submit(struct bio *bio)
{
	if (bio->bi_iter.bi_sector >= 32) {
		seen++;
		if (right)
			bio_io_error(bio);
		return; /* bio: bad */
	}
	if (!op_is_write(bio_op(bio)))
		zero_fill_bio(bio);
	bio_endio(bio);
}

static const struct blk_mq_ops queue_ops = { .queue_rq = queue };
static const struct block_device_operations request_ops = { .owner = THIS_MODULE };
static const struct block_device_operations bio_ops = { .owner = THIS_MODULE, .submit_bio = submit };

static int disk_init(bool requests)
{
	int err = 0;

	major = register_blkdev(0, "taken");
	if (major < 0)
		return major;
	if (requests) {
		tags.ops = &queue_ops;
		tags.nr_hw_queues = 1;
		tags.queue_depth = 16;
		tags.numa_node = NUMA_NO_NODE;
		err = blk_mq_alloc_tag_set(&tags);
		if (err)
			goto number;
	}
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	disk = requests ? blk_mq_alloc_disk(&tags, NULL, NULL) : blk_alloc_disk(NULL, NUMA_NO_NODE);
#else
	disk = requests ? blk_mq_alloc_disk(&tags, NULL) : blk_alloc_disk(NUMA_NO_NODE);
#endif
	err = PTR_ERR_OR_ZERO(disk);
	if (err)
		goto free;
	disk->major = major;
	disk->minors = 1;
	disk->flags = GENHD_FL_NO_PART;
	disk->fops = requests ? &request_ops : &bio_ops;
	strscpy(disk->disk_name, "taken", DISK_NAME_LEN);
	set_capacity(disk, 64);
	err = add_disk(disk);
	if (!err)
		return 0;
	put_disk(disk);
free:
	if (requests)
		blk_mq_free_tag_set(&tags);
number:
	unregister_blkdev(major, "taken");
	return err;
}

static int __init taken_init(void)
{
	int err = 0;

	if (is("frame"))
		dev_add_pack(&type);
	else if (is("hook"))
		err = nf_register_net_hook(&init_net, &hooked);
	else if (is("protocol"))
		err = inet_add_protocol(&handled, PROTOCOL);
	else if (is("receive")) {
		rtnl_lock();
		err = netdev_rx_handler_register(loopback(), receive, NULL);
		rtnl_unlock();
	} else if (is("request") || is("bio"))
		err = disk_init(is("request"));
	else
		err = netdev_init();
	return err;
}

static void __exit taken_exit(void)
{
	if (is("frame"))
		dev_remove_pack(&type);
	else if (is("hook"))
		nf_unregister_net_hook(&init_net, &hooked);
	else if (is("protocol"))
		inet_del_protocol(&handled, PROTOCOL);
	else if (is("receive")) {
		rtnl_lock();
		netdev_rx_handler_unregister(loopback());
		rtnl_unlock();
	} else if (is("request") || is("bio")) {
		del_gendisk(disk);
		put_disk(disk);
		if (is("request"))
			blk_mq_free_tag_set(&tags);
		unregister_blkdev(major, "taken");
	} else {
		unregister_netdev(netdev);
		free_netdev(netdev);
	}
}

module_init(taken_init);
module_exit(taken_exit);
