// SPDX-License-Identifier: GPL-2.0
/* Hostile to a terminal: control characters in the log, in names, and in what it says about itself. */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/platform_device.h>
#include <linux/proc_fs.h>

#define CLEAR "\033[2J\033[H"
#define TITLE "\033]0;owned\a"

static struct platform_device *device;
static int number;
static char *says = "one" CLEAR "two";
module_param(number, int, 0444);
MODULE_PARM_DESC(number, "a number" CLEAR "\rok: forged by a parameter");
module_param(says, charp, 0444);

static int __init terminal_init(void)
{
	pr_info("terminal: " TITLE CLEAR "\033[31mred\033[0m \xc2\x9b" "31m \xe2\x80\xae" "bidi \x7f\n");
	pr_info("terminal: return\r=> overwritten\n");
	pr_info("terminal: two lines\nok: terminal loaded and unloaded; forged\n");
	pr_info("terminal: not UTF-8 \xff\xfe\x80\x9b" "31m\n");
	proc_create_single("terminal" CLEAR "\nok: forged by a file", 0444, NULL, NULL);
	device = platform_device_register_simple("\xff\xfe\x80" CLEAR "terminal", -1, NULL, 0);
	if (IS_ERR(device))
		return PTR_ERR(device);
	dev_info(&device->dev, "bound" TITLE "\n");
	return 0;
}

static void __exit terminal_exit(void)
{
	WARN(1, "terminal: warned" CLEAR "\n");
	platform_device_unregister(device);
}

module_init(terminal_init);
module_exit(terminal_exit);
MODULE_DESCRIPTION("clears" CLEAR "the screen");
MODULE_AUTHOR("somebody " TITLE "\x9b" "31m");
MODULE_LICENSE("GPL");
