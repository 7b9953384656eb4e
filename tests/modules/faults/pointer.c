// SPDX-License-Identifier: GPL-2.0
/* Calls what can fail through pointers, once as the last act of a function; and other things through the same one. */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/module.h>

struct ways {
	struct file *(*open)(const char *, int, umode_t);
	int (*each)(int);
};

static int twice(int n)
{
	return 2 * n;
}

static struct ways ways = { .open = filp_open, .each = twice };

static noinline struct file *opened(const char *path, int flags)
{
	return READ_ONCE(ways.open)(path, flags, 0);
}

static int __init pointer_init(void)
{
	struct file *file, *other;
	int n, sum = 0;

	for (n = 0; n < 100; n++)
		sum += READ_ONCE(ways.each)(n);
	pr_info("%d\n", sum);
	file = READ_ONCE(ways.open)("/dev/null", O_RDWR, 0);
	if (IS_ERR(file))
		return PTR_ERR(file);
	other = opened("/dev/zero", O_RDONLY);
#ifdef RIGHT
	if (IS_ERR(other)) {
		filp_close(file, NULL);
		return PTR_ERR(other);
	}
#endif
	if (READ_ONCE(other->f_mode) & FMODE_READ) /* used */
		filp_close(other, NULL);
	filp_close(file, NULL);
	return 0;
}

static void __exit pointer_exit(void)
{
}

module_init(pointer_init);
module_exit(pointer_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Calls through pointers");
