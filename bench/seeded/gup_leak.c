// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct page *page;
	char *p;
	if (get_user_pages_fast((unsigned long)b, 1, FOLL_WRITE, &page) != 1) /* BUG */
		return -EFAULT;
	p = kmap_local_page(page);
	p[offset_in_page(b)] ^= 1;
	kunmap_local(p);
	set_page_dirty_lock(page);
#ifdef FIXED
	put_page(page);
#endif
	return n;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "gup_leak", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
