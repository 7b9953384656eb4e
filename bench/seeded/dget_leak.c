// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	struct dentry *d = dget_parent(f->f_path.dentry); /* BUG */
	char name[32];
	size_t l = snprintf(name, sizeof(name), "%pd\n", d);
#ifdef FIXED
	dput(d);
#endif
	return simple_read_from_buffer(b, n, o, name, l);
}
static const struct file_operations fops = { .owner = THIS_MODULE, .read = r };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "dget_leak", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
