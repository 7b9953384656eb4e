// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"

static char tmpl[32] = "v=1";
static DEFINE_MUTEX(lock);
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	ssize_t ret;
	mutex_lock(&lock);
	ret = strncpy_from_user(tmpl, b, min(n + 1, sizeof(tmpl)) - 1);
	tmpl[sizeof(tmpl) - 1] = 0;
	mutex_unlock(&lock);
	return ret < 0 ? ret : n;
}
static ssize_t r(struct file *f, char __user *b, size_t n, loff_t *o)
{
	char out[64];
	int len;
	mutex_lock(&lock);
#ifdef FIXED
	len = scnprintf(out, sizeof(out), "%s", tmpl);
#else
	len = scnprintf(out, sizeof(out), tmpl, 1, 2); /* BUG */
#endif
	mutex_unlock(&lock);
	return simple_read_from_buffer(b, n, o, out, len);
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w, .read = r };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "fmt_template", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
