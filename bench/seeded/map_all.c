// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static void *ring;
static int mm(struct file *f, struct vm_area_struct *vma)
{
	unsigned long size = vma->vm_end - vma->vm_start;
#ifdef FIXED
	if (vma->vm_pgoff || size > 2 * PAGE_SIZE)
		return -EINVAL;
#endif
	return remap_pfn_range(vma, vma->vm_start, (virt_to_phys(ring) >> PAGE_SHIFT) + vma->vm_pgoff, size, vma->vm_page_prot); /* BUG */
}
static int hello(void)
{
	ring = (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, 1);
	return ring ? 0 : -ENOMEM;
}
static void bye(void) { free_pages((unsigned long)ring, 1); }
static const struct file_operations fops = { .owner = THIS_MODULE, .mmap = mm };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "map_all", .fops = &fops };
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
