// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

static DEFINE_XARRAY(tab);
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	u8 k;
	void *p, *old;

	if (!n || get_user(k, b))
		return -EFAULT;
	p = kzalloc(48, GFP_KERNEL);
	if (!p)
		return -ENOMEM;
	old = xa_store(&tab, k, p, GFP_KERNEL); /* BUG */
	if (xa_is_err(old)) {
		kfree(p);
		return xa_err(old);
	}
	kfree(old);
	return n;
}
static int hello(void) { return 0; }
static void bye(void)
{
	unsigned long i;
	void *p;
	xa_for_each(&tab, i, p)
		kfree(p);
#ifdef FIXED
	xa_destroy(&tab);
#endif
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "xa_kept", .fops = &fops };
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
