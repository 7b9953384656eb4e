// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct page *page = alloc_page(GFP_KERNEL); /* BUG */
	ssize_t err = n;

	if (!page)
		return -ENOMEM;
	get_page(page);
	if (copy_from_user(page_address(page), b, min_t(size_t, n, PAGE_SIZE)))
		err = -EFAULT;
#ifdef FIXED
	put_page(page);
#endif
	put_page(page);
	return err;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "page_twice", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
