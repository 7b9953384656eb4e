// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a RAM disk, /dev/skeleton, that keeps its sectors in memory.
 *
 * The simplest of block drivers: it takes each bio as it comes (no request
 * queue) and copies between the bio's pages and the disk's.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/highmem.h>
#include <linux/module.h>
#include <linux/version.h>
#include <linux/vmalloc.h>

static unsigned int megabytes = 4;
module_param(megabytes, uint, 0444);
MODULE_PARM_DESC(megabytes, "size of the disk");

static int major;
static struct gendisk *disk;
static void *sectors;

static void skeleton_submit_bio(struct bio *bio)
{
	/* The block layer has checked that the bio lies within the disk. */
	void *at = sectors + (bio->bi_iter.bi_sector << SECTOR_SHIFT);
	struct bio_vec part;
	struct bvec_iter iter;

	switch (bio_op(bio)) {
	case REQ_OP_READ:
		bio_for_each_segment(part, bio, iter) {
			memcpy_to_bvec(&part, at);
			at += part.bv_len;
		}
		break;
	case REQ_OP_WRITE:
		bio_for_each_segment(part, bio, iter) {
			memcpy_from_bvec(at, &part);
			at += part.bv_len;
		}
		break;
	default:
		bio->bi_status = BLK_STS_NOTSUPP;
	}
	bio_endio(bio);
}

static const struct block_device_operations skeleton_ops = {
	.owner = THIS_MODULE,
	.submit_bio = skeleton_submit_bio,
};

static struct gendisk *skeleton_alloc(void)
{
	/* The disk's limits became an argument in 6.9, and errors an ERR_PTR. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	return blk_alloc_disk(NULL, NUMA_NO_NODE);
#else
	return blk_alloc_disk(NUMA_NO_NODE) ?: ERR_PTR(-ENOMEM);
#endif
}

static int __init skeleton_init(void)
{
	int err = -ENOMEM;

	if (!megabytes || megabytes > 1024)
		return -EINVAL;
	/* Zeroed: a disk must not show what other programs left in memory. */
	sectors = vzalloc((size_t)megabytes << 20);
	if (!sectors)
		return -ENOMEM;
	major = register_blkdev(0, "skeleton");
	if (major < 0) {
		err = major;
		goto no_major;
	}
	disk = skeleton_alloc();
	if (IS_ERR(disk)) {
		err = PTR_ERR(disk);
		goto no_disk;
	}
	disk->major = major;
	disk->minors = 1;
	disk->fops = &skeleton_ops;
	strscpy(disk->disk_name, "skeleton", sizeof(disk->disk_name));
	set_capacity(disk, (sector_t)megabytes << (20 - SECTOR_SHIFT));
	err = add_disk(disk);
	if (err)
		goto no_add;
	return 0;

no_add:
	put_disk(disk);
no_disk:
	unregister_blkdev(major, "skeleton");
no_major:
	vfree(sectors);
	return err;
}

static void __exit skeleton_exit(void)
{
	del_gendisk(disk);
	put_disk(disk);
	unregister_blkdev(major, "skeleton");
	vfree(sectors);
}

module_init(skeleton_init);
module_exit(skeleton_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A RAM disk");
