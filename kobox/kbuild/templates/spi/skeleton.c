// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a driver of a chip on an SPI bus, which skeleton_model.py plays.
 *
 * A message is a byte that chooses a register, with the highest bit set for
 * reading, and a byte of data.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/spi/spi.h>
#include <linux/sysfs.h>

#define SKELETON_ID	0x00
#define SKELETON_LEVEL	0x01
#define SKELETON_READ	0x80
#define SKELETON_IS	0x5A

static int skeleton_read(struct spi_device *spi, u8 reg)
{
	return spi_w8r8(spi, reg | SKELETON_READ);
}

static ssize_t level_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	int value = skeleton_read(to_spi_device(dev), SKELETON_LEVEL);

	return value < 0 ? value : sysfs_emit(buf, "%d\n", value);
}

static ssize_t level_store(struct device *dev, struct device_attribute *attr,
			   const char *buf, size_t count)
{
	u8 message[2] = { SKELETON_LEVEL };
	int err;

	err = kstrtou8(buf, 0, &message[1]);
	if (err)
		return err;
	/* spi_write_then_read() copies: message may lie on the stack. */
	err = spi_write_then_read(to_spi_device(dev), message, sizeof(message),
				  NULL, 0);
	return err ? err : count;
}
static DEVICE_ATTR_RW(level);

static struct attribute *skeleton_attrs[] = {
	&dev_attr_level.attr,
	NULL,
};
ATTRIBUTE_GROUPS(skeleton);

static int skeleton_probe(struct spi_device *spi)
{
	int id = skeleton_read(spi, SKELETON_ID);

	if (id < 0)
		return id;
	if (id != SKELETON_IS) {
		dev_err(&spi->dev, "not a skeleton: it says %#x\n", id);
		return -ENODEV;
	}
	dev_info(&spi->dev, "ready\n");
	return 0;
}

static const struct acpi_device_id skeleton_acpi[] = {
	{ "KOBX0020" },
	{ }
};
MODULE_DEVICE_TABLE(acpi, skeleton_acpi);

static struct spi_driver skeleton_driver = {
	.driver = {
		.name = "skeleton",
		.acpi_match_table = skeleton_acpi,
		.dev_groups = skeleton_groups,
	},
	.probe = skeleton_probe,
};
module_spi_driver(skeleton_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver of a chip on an SPI bus");
