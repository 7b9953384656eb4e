// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a platform driver, and a device for it to drive.
 *
 * On real boards the device comes from the device tree or from ACPI. Here the
 * module makes one itself, so that there is something to see. The driver is
 * probed asynchronously: loading the module does not wait for slow hardware.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/device.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/sysfs.h>

struct skeleton {
	struct device *dev;
	unsigned int value;	/* what a register of the hardware would hold */
};

static ssize_t value_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	struct skeleton *sk = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", READ_ONCE(sk->value));
}

static ssize_t value_store(struct device *dev, struct device_attribute *attr,
			   const char *buf, size_t count)
{
	struct skeleton *sk = dev_get_drvdata(dev);
	unsigned int value;
	int err;

	err = kstrtouint(buf, 0, &value);
	if (err)
		return err;
	WRITE_ONCE(sk->value, value);
	return count;
}
static DEVICE_ATTR_RW(value);

static struct attribute *skeleton_attrs[] = {
	&dev_attr_value.attr,
	NULL,
};
ATTRIBUTE_GROUPS(skeleton);

static void skeleton_off(void *data)
{
	struct skeleton *sk = data;

	dev_info(sk->dev, "switched off\n");
}

static int skeleton_probe(struct platform_device *pdev)
{
	struct skeleton *sk;

	/*
	 * What devm_ functions give goes away by itself, in reverse order, when
	 * probe fails and when the device goes: no remove() is needed.
	 */
	sk = devm_kzalloc(&pdev->dev, sizeof(*sk), GFP_KERNEL);
	if (!sk)
		return -ENOMEM;
	sk->dev = &pdev->dev;
	sk->value = 42;
	platform_set_drvdata(pdev, sk);
	msleep(20);	/* the hardware wakes up */
	dev_info(&pdev->dev, "ready\n");
	return devm_add_action_or_reset(&pdev->dev, skeleton_off, sk);
}

/* Which devices this driver is for; the alias lets udev load it. */
static const struct platform_device_id skeleton_ids[] = {
	{ .name = "skeleton" },
	{ }
};
MODULE_DEVICE_TABLE(platform, skeleton_ids);

static struct platform_driver skeleton_driver = {
	.probe = skeleton_probe,
	.id_table = skeleton_ids,
	.driver = {
		.name = "skeleton",
		.dev_groups = skeleton_groups,
		.probe_type = PROBE_PREFER_ASYNCHRONOUS,
	},
};

static struct platform_device *skeleton_device;

static int __init skeleton_init(void)
{
	int err;

	err = platform_driver_register(&skeleton_driver);
	if (err)
		return err;
	skeleton_device = platform_device_register_simple("skeleton",
							  PLATFORM_DEVID_NONE,
							  NULL, 0);
	if (IS_ERR(skeleton_device)) {
		platform_driver_unregister(&skeleton_driver);
		return PTR_ERR(skeleton_device);
	}
	return 0;
}

static void __exit skeleton_exit(void)
{
	platform_device_unregister(skeleton_device);
	platform_driver_unregister(&skeleton_driver);
}

module_init(skeleton_init);
module_exit(skeleton_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A platform device and its driver");
