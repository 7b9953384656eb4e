// SPDX-License-Identifier: GPL-2.0
/* A platform driver that prefers asynchronous probing, and its device: init is back before probe is. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/platform_device.h>

static struct platform_device *asyncprobe_device;

static int asyncprobe_probe(struct platform_device *pdev)
{
	dev_info(&pdev->dev, "probe begins\n");
	msleep(500);
	dev_info(&pdev->dev, "probe is done\n");
	return 0;
}

static struct platform_driver asyncprobe_driver = {
	.probe = asyncprobe_probe,
	.driver = {
		.name = "asyncprobe",
		.probe_type = PROBE_PREFER_ASYNCHRONOUS,
	},
};

static int __init asyncprobe_init(void)
{
	int error;

	asyncprobe_device = platform_device_register_simple("asyncprobe", -1, NULL, 0);
	if (IS_ERR(asyncprobe_device))
		return PTR_ERR(asyncprobe_device);
	error = platform_driver_register(&asyncprobe_driver);
	if (error)
		platform_device_unregister(asyncprobe_device);
	pr_info("init returns\n");
	return error;
}

static void __exit asyncprobe_exit(void)
{
	platform_driver_unregister(&asyncprobe_driver);
	platform_device_unregister(asyncprobe_device);
}

module_init(asyncprobe_init);
module_exit(asyncprobe_exit);
MODULE_LICENSE("GPL");
