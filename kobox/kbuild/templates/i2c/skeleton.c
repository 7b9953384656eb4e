// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a driver of a chip on an I2C bus, which skeleton_model.py plays.
 *
 * Register 0 says what the chip is, register 1 holds a level, which is read
 * and written by an attribute in /sys.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/i2c.h>
#include <linux/module.h>
#include <linux/sysfs.h>
#include <linux/version.h>

#define SKELETON_ID	0x00
#define SKELETON_LEVEL	0x01
#define SKELETON_IS	0x5A

static ssize_t level_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	int value = i2c_smbus_read_byte_data(to_i2c_client(dev),
					     SKELETON_LEVEL);

	return value < 0 ? value : sysfs_emit(buf, "%d\n", value);
}

static ssize_t level_store(struct device *dev, struct device_attribute *attr,
			   const char *buf, size_t count)
{
	u8 value;
	int err;

	err = kstrtou8(buf, 0, &value);
	if (err)
		return err;
	err = i2c_smbus_write_byte_data(to_i2c_client(dev), SKELETON_LEVEL,
					value);
	return err ? err : count;
}
static DEVICE_ATTR_RW(level);

static struct attribute *skeleton_attrs[] = {
	&dev_attr_level.attr,
	NULL,
};
ATTRIBUTE_GROUPS(skeleton);

static int skeleton_probe(struct i2c_client *client)
{
	int id;

	if (!i2c_check_functionality(client->adapter,
				     I2C_FUNC_SMBUS_BYTE_DATA))
		return -EOPNOTSUPP;
	id = i2c_smbus_read_byte_data(client, SKELETON_ID);
	if (id < 0)
		return id;
	if (id != SKELETON_IS) {
		dev_err(&client->dev, "not a skeleton: it says %#x\n", id);
		return -ENODEV;
	}
	dev_info(&client->dev, "ready\n");
	return 0;
}

static const struct i2c_device_id skeleton_ids[] = {
	{ "skeleton" },
	{ }
};
MODULE_DEVICE_TABLE(i2c, skeleton_ids);

static struct i2c_driver skeleton_driver = {
	.driver = {
		.name = "skeleton",
		.dev_groups = skeleton_groups,
	},
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
	.probe_new = skeleton_probe,
#else
	.probe = skeleton_probe,
#endif
	.id_table = skeleton_ids,
};
module_i2c_driver(skeleton_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver of a chip on an I2C bus");
