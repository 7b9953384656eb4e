#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/list.h>
#include <linux/module.h>
#include <linux/slab.h>

static int count = 5;
module_param(count, int, 0444);

static LIST_HEAD(squares);

static int __init numbers_init(void)
{
	/* Fill the list, then write what is in it. */
	return list_empty(&squares) ? 0 : -EEXIST;
}

static void __exit numbers_exit(void)
{
	/* Empty it. */
}

module_init(numbers_init);
module_exit(numbers_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Squares in a list");
