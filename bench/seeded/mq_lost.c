// SPDX-License-Identifier: GPL-2.0
/* kind: hang */
#include "seeded.h"
#include <linux/blk-mq.h>

static struct blk_mq_tag_set set;
static struct gendisk *gd;
static int major;
static blk_status_t rq(struct blk_mq_hw_ctx *h, const struct blk_mq_queue_data *bd)
{
	struct request *r = bd->rq;
	struct req_iterator it;
	struct bio_vec bv;

	blk_mq_start_request(r);
	if (blk_rq_pos(r) >= 32) {
#ifdef FIXED
		blk_mq_end_request(r, BLK_STS_IOERR);
#endif
		return BLK_STS_OK; /* BUG */
	}
	rq_for_each_segment(bv, r, it)
		if (!op_is_write(req_op(r)))
			memset(bvec_virt(&bv), 0, bv.bv_len);
	blk_mq_end_request(r, BLK_STS_OK);
	return BLK_STS_OK;
}
static const struct blk_mq_ops mops = { .queue_rq = rq }; /* BUG */
static const struct block_device_operations bops = { .owner = THIS_MODULE };
static int __init m_init(void)
{
	int err;
	major = register_blkdev(0, "mqlost");
	if (major < 0)
		return major;
	set.ops = &mops; set.nr_hw_queues = 1; set.queue_depth = 16; set.numa_node = NUMA_NO_NODE;
	err = blk_mq_alloc_tag_set(&set);
	if (err)
		goto blk;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	gd = blk_mq_alloc_disk(&set, NULL, NULL);
#else
	gd = blk_mq_alloc_disk(&set, NULL);
#endif
	err = PTR_ERR_OR_ZERO(gd);
	if (err)
		goto tags;
	gd->major = major; gd->first_minor = 0; gd->minors = 1; gd->fops = &bops;
	strscpy(gd->disk_name, "mqlost", DISK_NAME_LEN);
	set_capacity(gd, 64);
	err = add_disk(gd);
	if (!err)
		return 0;
	put_disk(gd);
tags:	blk_mq_free_tag_set(&set);
blk:	unregister_blkdev(major, "mqlost");
	return err;
}
static void __exit m_exit(void)
{
	del_gendisk(gd);
	put_disk(gd);
	blk_mq_free_tag_set(&set);
	unregister_blkdev(major, "mqlost");
}
module_init(m_init);
module_exit(m_exit);
