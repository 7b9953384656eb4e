// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

#define SIZE (4 * PAGE_SIZE)
static void *buf;
static int mm(struct file *f, struct vm_area_struct *vma)
{
	unsigned long i, n = vma->vm_end - vma->vm_start;
	int err;

#ifdef FIXED
	if (vma->vm_pgoff || n > SIZE)
		return -EINVAL;
#endif
	for (i = 0; i < n; i += PAGE_SIZE) {
		err = vm_insert_page(vma, vma->vm_start + i, vmalloc_to_page(buf + i)); /* BUG */
		if (err)
			return err;
	}
	return 0;
}
static int hello(void) { buf = vmalloc_user(SIZE); return buf ? 0 : -ENOMEM; }
static void bye(void) { vfree(buf); }
static const struct file_operations fops = { .owner = THIS_MODULE, .mmap = mm };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "map_pages", .fops = &fops };
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
