// SPDX-License-Identifier: GPL-2.0
/* Parameters of every usual type: read-only and writable, and one whose setter validates. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/module.h>
#include <linux/moduleparam.h>

static int number = 42;
module_param(number, int, 0644);
MODULE_PARM_DESC(number, "a writable number");

static char *greeting = "hello";
module_param(greeting, charp, 0444);
MODULE_PARM_DESC(greeting, "what to say");

static int list[4] = { 1, 2, 3 };
static int list_count = 3;
module_param_array(list, int, &list_count, 0644);
MODULE_PARM_DESC(list, "up to four numbers");

static bool flag;
module_param(flag, bool, 0644);

static unsigned long secret = 7;
module_param(secret, ulong, 0);

static int even;

static int even_set(const char *text, const struct kernel_param *kp)
{
	int value, error = kstrtoint(text, 0, &value);

	if (error)
		return error;
	if (value & 1) {
		pr_warn("%d is odd\n", value);
		return -ERANGE;
	}
	return param_set_int(text, kp);
}

static const struct kernel_param_ops even_ops = {
	.set = even_set,
	.get = param_get_int,
};
module_param_cb(even, &even_ops, &even, 0644);

static int __init params_init(void)
{
	int i;

	pr_info("number=%d greeting=%s flag=%d secret=%lu even=%d\n", number, greeting, flag, secret, even);
	for (i = 0; i < list_count; i++)
		pr_info("list[%d]=%d\n", i, list[i]);
	return 0;
}

static void __exit params_exit(void)
{
	pr_info("number is %d at the end\n", number);
}

module_init(params_init);
module_exit(params_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Parameters");
