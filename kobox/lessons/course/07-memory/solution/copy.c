#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

static char *text = "text";
module_param(text, charp, 0444);

static char *mine;

static int __init copy_init(void)
{
	mine = kmalloc(strlen(text) + 1, GFP_KERNEL);
	if (!mine)
		return -ENOMEM;
	strcpy(mine, text);
	pr_info("copied %s\n", mine);
	return 0;
}

static void __exit copy_exit(void)
{
	kfree(mine);
}

module_init(copy_init);
module_exit(copy_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Copies a text");
