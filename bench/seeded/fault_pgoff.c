// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static struct page *pages[4];
static vm_fault_t flt(struct vm_fault *v)
{
	struct page *p;
#ifdef FIXED
	if (v->pgoff >= 4)
		return VM_FAULT_SIGBUS;
#endif
	p = pages[v->pgoff]; /* BUG */
	if (!p)
		return VM_FAULT_SIGBUS;
	get_page(p);
	v->page = p;
	return 0;
}
static const struct vm_operations_struct vops = { .fault = flt };
static int mm(struct file *f, struct vm_area_struct *v) { v->vm_ops = &vops; return 0; }
static int hello(void) { pages[0] = alloc_page(GFP_KERNEL | __GFP_ZERO); return pages[0] ? 0 : -ENOMEM; }
static void bye(void) { __free_page(pages[0]); }
static const struct file_operations fops = { .owner = THIS_MODULE, .mmap = mm };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "fault_pgoff", .fops = &fops };
static int __init m_init(void)
{
	int err = hello();
	if (err)
		return err;
	err = misc_register(&mdev);
	if (err)
		bye();
	return err;
}
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
