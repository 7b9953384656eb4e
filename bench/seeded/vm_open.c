// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

struct m { int users; char *b; };
static void vclose(struct vm_area_struct *v) { struct m *m = v->vm_private_data; if (!--m->users) { kfree(m->b); kfree(m); } } /* BUG */
static void vopen(struct vm_area_struct *v) { struct m *m = v->vm_private_data; m->users++; }
static vm_fault_t flt(struct vm_fault *v) { return VM_FAULT_SIGBUS; }
static const struct vm_operations_struct vops = { .close = vclose, .fault = flt,
#ifdef FIXED
	.open = vopen,
#endif
};
static void *keep_ __maybe_unused = vopen;
static int mm(struct file *f, struct vm_area_struct *v)
{
	struct m *m = kzalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		return -ENOMEM;
	m->users = 1;
	m->b = kzalloc(100, GFP_KERNEL);
	if (!m->b) {
		kfree(m);
		return -ENOMEM;
	}
	v->vm_private_data = m;
	v->vm_ops = &vops;
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .mmap = mm };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "vm_open", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
