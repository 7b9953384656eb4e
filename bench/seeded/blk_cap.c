// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static u8 *disk;
static struct gendisk *gd;
static void sub(struct bio *bio)
{
	struct bio_vec bv;
	struct bvec_iter it;
	sector_t s = bio->bi_iter.bi_sector;
	bio_for_each_segment(bv, bio, it) {
		void *p = kmap_local_page(bv.bv_page) + bv.bv_offset;
		if (op_is_write(bio_op(bio)))
			memcpy(disk + (s << 9), p, bv.bv_len); /* BUG */
		else
			memcpy(p, disk + (s << 9), bv.bv_len); /* BUG */
		kunmap_local(p);
		s += bv.bv_len >> 9;
	}
	bio_endio(bio);
}
static const struct block_device_operations bops = { .owner = THIS_MODULE, .submit_bio = sub };
static int major;
static int __init m_init(void)
{
	int err;
	disk = vzalloc(64 << 9);
	major = register_blkdev(0, "blkcap");
	if (!disk || major < 0) {
		vfree(disk);
		if (major >= 0)
			unregister_blkdev(major, "blkcap");
		return -ENOMEM;
	}
	gd = ALLOC_DISK();
	if (IS_ERR_OR_NULL(gd)) {
		unregister_blkdev(major, "blkcap");
		vfree(disk);
		return -ENOMEM;
	}
	gd->major = major; gd->first_minor = 0; gd->minors = 1; gd->fops = &bops;
	strscpy(gd->disk_name, "blkcap", DISK_NAME_LEN);
#ifndef FIXED
	set_capacity(gd, 128);
#else
	set_capacity(gd, 64);
#endif
	err = add_disk(gd);
	if (err) {
		put_disk(gd);
		unregister_blkdev(major, "blkcap");
		vfree(disk);
	}
	return err;
}
static void __exit m_exit(void) { del_gendisk(gd); put_disk(gd); unregister_blkdev(major, "blkcap"); vfree(disk); }
module_init(m_init); module_exit(m_exit);
