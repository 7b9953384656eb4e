// SPDX-License-Identifier: GPL-2.0
/* Exports a function for any module and one for GPL modules. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/module.h>

int kbase_fn(int value);
int kbase_gpl_fn(int value);

int kbase_fn(int value)
{
	return value + 1;
}
EXPORT_SYMBOL(kbase_fn);

int kbase_gpl_fn(int value)
{
	return value * 2;
}
EXPORT_SYMBOL_GPL(kbase_gpl_fn);

MODULE_LICENSE("GPL");
