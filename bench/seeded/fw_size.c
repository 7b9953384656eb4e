// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

static u8 image[16];
static int load(struct device *d)
{
	const struct firmware *fw;
	int err = request_firmware(&fw, "fw_size.bin", d); /* BUG */

	if (err)
		return 0;
	if (fw->size < sizeof(image)) {
#ifdef FIXED
		release_firmware(fw);
#endif
		return 0;
	}
	memcpy(image, fw->data, sizeof(image));
	release_firmware(fw);
	return 0;
}
static struct miscdevice mdev;
static int op(struct inode *i, struct file *f) { return load(mdev.this_device); }
static const struct file_operations fops = { .owner = THIS_MODULE, .open = op };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "fw_size", .fops = &fops };
static int __init m_init(void)
{
	int err = misc_register(&mdev);
	return err ? err : load(mdev.this_device);
}
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
MODULE_FIRMWARE("fw_size.bin");
