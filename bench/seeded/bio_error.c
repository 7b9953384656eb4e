// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

static u8 *disk;
static struct gendisk *gd;
static int major;
static struct bio_set bs;
static void sub(struct bio *bio)
{
	struct bio *c = bio_alloc_clone(bio->bi_bdev, bio, GFP_NOIO, &bs); /* BUG */
	struct bio_vec bv;
	struct bvec_iter it;
	sector_t s = bio->bi_iter.bi_sector;

	if (!c) {
		bio_io_error(bio);
		return;
	}
	if (op_is_write(bio_op(bio)) && s < 8) {
#ifdef FIXED
		bio_put(c);
#endif
		bio_io_error(bio);
		return;
	}
	bio_for_each_segment(bv, c, it) {
		void *p = kmap_local_page(bv.bv_page) + bv.bv_offset;
		if (op_is_write(bio_op(bio)))
			memcpy(disk + (s << 9), p, bv.bv_len);
		else
			memcpy(p, disk + (s << 9), bv.bv_len);
		kunmap_local(p);
		s += bv.bv_len >> 9;
	}
	bio_put(c);
	bio_endio(bio);
}
static const struct block_device_operations bops = { .owner = THIS_MODULE, .submit_bio = sub };
static int __init m_init(void)
{
	int err = -ENOMEM;
	disk = vzalloc(64 << 9);
	if (!disk)
		return err;
	err = bioset_init(&bs, 4, 0, BIOSET_NEED_BVECS);
	if (err)
		goto mem;
	major = err = register_blkdev(0, "bioerr");
	if (err < 0)
		goto set;
	gd = ALLOC_DISK();
	if (IS_ERR_OR_NULL(gd)) {
		err = -ENOMEM;
		goto blk;
	}
	gd->major = major; gd->first_minor = 0; gd->minors = 1; gd->fops = &bops;
	strscpy(gd->disk_name, "bioerr", DISK_NAME_LEN);
	set_capacity(gd, 64);
	err = add_disk(gd);
	if (!err)
		return 0;
	put_disk(gd);
blk:	unregister_blkdev(major, "bioerr");
set:	bioset_exit(&bs);
mem:	vfree(disk);
	return err;
}
static void __exit m_exit(void)
{
	del_gendisk(gd);
	put_disk(gd);
	unregister_blkdev(major, "bioerr");
	bioset_exit(&bs);
	vfree(disk);
}
module_init(m_init);
module_exit(m_exit);
