#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/list.h>
#include <linux/module.h>
#include <linux/slab.h>

struct square {
	int value;
	struct list_head entry;
};

static int count = 5;
module_param(count, int, 0444);

static LIST_HEAD(squares);

static void numbers_empty(void)
{
	struct square *square, *next;

	list_for_each_entry_safe(square, next, &squares, entry) {
		list_del(&square->entry);
		kfree(square);
	}
}

static int __init numbers_init(void)
{
	struct square *square;
	int i;

	for (i = 1; i <= count; i++) {
		square = kmalloc(sizeof(*square), GFP_KERNEL);
		if (!square) {
			numbers_empty();
			return -ENOMEM;
		}
		square->value = i * i;
		list_add_tail(&square->entry, &squares);
	}
	list_for_each_entry(square, &squares, entry)
		pr_info("%d\n", square->value);
	return 0;
}

static void __exit numbers_exit(void)
{
	numbers_empty();
}

module_init(numbers_init);
module_exit(numbers_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Squares in a list");
