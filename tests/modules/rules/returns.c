// SPDX-License-Identifier: GPL-2.0
/*
 * What functions return or leave, against the rules of who calls them, and (right=1) by the rules. `what` names the case.
 */
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/version.h>

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("returns what it should not");

static char *what = "";
module_param(what, charp, 0);
static bool right;
module_param(right, bool, 0);

static char text[64] = "a text of forty-two characters, and no end";
static int refused;
static unsigned long nowhere = 0x4141414141414141;

static int probe(struct platform_device *device)
{
	if (platform_get_resource(device, IORESOURCE_MEM, 0))
		return 0;
	if (right)
		return -EINVAL;
	WRITE_ONCE(refused, refused + 1); /* probe: bad */
	return EINVAL;
}

static struct platform_driver driver = { .probe = probe, .driver = { .name = "returns" } };
static struct platform_device *device;

static ssize_t give(struct file *file, char __user *user, size_t size, loff_t *at)
{
	size_t length = strlen(text);

	if (!strcmp(what, "jump") && !right)
		((void (*)(void))READ_ONCE(nowhere))(); /* jump: bad */
	if (right || strcmp(what, "read"))
		length = min(length, size);
	if (copy_to_user(user, text, length)) /* read: bad */
		return -EFAULT;
	return length;
}

static ssize_t take(struct file *file, const char __user *user, size_t size, loff_t *at)
{ /* write: bad */
	return right || strcmp(what, "write") ? size : size + 1;
}

static const struct file_operations files = { .owner = THIS_MODULE, .read = give, .write = take };
static struct miscdevice misc = { .minor = MISC_DYNAMIC_MINOR, .name = "returns", .fops = &files };

static struct timer_list timer;
static bool stopped;

static void tick(struct timer_list *one)
{
	if (!READ_ONCE(stopped))
		mod_timer(one, jiffies + 1);
}

static int __init returns_init(void)
{
	int error = misc_register(&misc);

	if (error)
		return error;
	timer_setup(&timer, tick, 0);
	if (!strcmp(what, "timer"))
		mod_timer(&timer, jiffies + 1); /* timer: bad */
	if (strcmp(what, "probe"))
		return 0;
	error = platform_driver_register(&driver);
	if (error)
		goto undo;
	device = platform_device_register_simple("returns", PLATFORM_DEVID_NONE, NULL, 0);
	if (!IS_ERR(device))
		return 0;
	error = PTR_ERR(device);
	platform_driver_unregister(&driver);
undo:
	misc_deregister(&misc);
	return error;
}

static void __exit returns_exit(void)
{
	WRITE_ONCE(stopped, true);
	if (right) {
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
		timer_shutdown_sync(&timer);
#else
		del_timer_sync(&timer);
#endif
	}
	if (!strcmp(what, "probe")) {
		platform_device_unregister(device);
		platform_driver_unregister(&driver);
	}
	misc_deregister(&misc);
}

module_init(returns_init);
module_exit(returns_exit);
