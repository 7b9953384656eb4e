// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static struct page *pages[4];
static vm_fault_t fault(struct vm_fault *vmf)
{
	struct page *page;
#ifdef FIXED
	if (vmf->pgoff >= 4)
		return VM_FAULT_SIGBUS;
#endif
	page = pages[vmf->pgoff]; /* BUG */
	if (!page)
		return VM_FAULT_SIGBUS;
	get_page(page);
	vmf->page = page;
	return 0;
}
static const struct vm_operations_struct vm_ops = { .fault = fault };
static int mm(struct file *f, struct vm_area_struct *vma) { vma->vm_ops = &vm_ops; return 0; }
static int hello(void)
{
	pages[0] = alloc_page(GFP_KERNEL | __GFP_ZERO);
	return pages[0] ? 0 : -ENOMEM;
}
static void bye(void) { __free_page(pages[0]); }
static const struct file_operations fops = { .owner = THIS_MODULE, .mmap = mm };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "fault_beyond", .fops = &fops };
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
