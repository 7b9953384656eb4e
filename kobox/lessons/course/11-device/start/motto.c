#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

static int __init motto_init(void)
{
	return 0;
}

static void __exit motto_exit(void)
{
}

module_init(motto_init);
module_exit(motto_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A device that can be read");
