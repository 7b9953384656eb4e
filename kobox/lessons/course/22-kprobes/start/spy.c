#include <linux/atomic.h>
#include <linux/kprobes.h>
#include <linux/module.h>

static atomic_t calls = ATOMIC_INIT(0);

static int calls_get(char *text, const struct kernel_param *param)
{
	return sysfs_emit(text, "%d\n", atomic_read(&calls));
}

static const struct kernel_param_ops calls_ops = { .get = calls_get };
module_param_cb(calls, &calls_ops, NULL, 0444);

static int __init spy_init(void)
{
	return 0;
}

static void __exit spy_exit(void)
{
}

module_init(spy_init);
module_exit(spy_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Counts calls of a function of the kernel");
