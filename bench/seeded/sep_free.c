// SPDX-License-Identifier: GPL-2.0
/* kind: freed wrongly */
#include "seeded.h"

static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char *line, *at, *word;
	int words = 0;

	if (n > 256)
		return -EINVAL;
	line = at = memdup_user_nul(b, n);
	if (IS_ERR(line))
		return PTR_ERR(line);
#ifdef FIXED
	while ((word = strsep(&at, " ")) != NULL)
		words += *word != 0;
#else
	while (words < 3 && (word = strsep(&line, " ")) != NULL)
		words += *word != 0;
#endif
	kfree(line); /* BUG */
	return words ? n : -EINVAL;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "sep_free", .fops = &fops };
static int __init m_init(void) { return misc_register(&mdev); }
static void __exit m_exit(void) { misc_deregister(&mdev); }
module_init(m_init);
module_exit(m_exit);
