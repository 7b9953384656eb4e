#include <linux/module.h>

static int __init papers_init(void)
{
	pr_info("papers, please\n");
	return 0;
}

static void __exit papers_exit(void)
{
}

module_init(papers_init);
module_exit(papers_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Has a signature");
