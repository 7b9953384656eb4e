#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/sysfs.h>

static int target = 20;

static int __init thermostat_init(void)
{
	return target ? 0 : -EINVAL;
}

static void __exit thermostat_exit(void)
{
}

module_init(thermostat_init);
module_exit(thermostat_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A number in /sys");
