// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct page *pages[2];
	int got;
	if (cmd != 0x10)
		return -ENOTTY;
	got = pin_user_pages_fast(arg, 2, FOLL_WRITE, pages); /* BUG */
	if (got < 2) {
#ifdef FIXED
		if (got > 0)
			unpin_user_pages(pages, got);
#endif
		return -EFAULT;
	}
	unpin_user_pages(pages, 2);
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "pin_leak", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
