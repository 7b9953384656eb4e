#include <linux/module.h>

static int size = 10;
module_param(size, int, 0444);

static int __init refuse_init(void)
{
	if (size < 1)
		return -EINVAL;
	if (size > 100)
		return -ERANGE;
	pr_info("size is %d\n", size);
	return 0;
}

static void __exit refuse_exit(void)
{
}

module_init(refuse_init);
module_exit(refuse_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Loads with a good size only");
