// SPDX-License-Identifier: GPL-2.0
/* A driver of the board that wants much of its device: each value by another kind of instruction. */
#include <linux/acpi.h>
#include <linux/bitfield.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/iopoll.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/platform_device.h>

#define PICKY_ID	0x00
#define PICKY_VERSION	0x04
#define PICKY_STATUS	0x08
#define PICKY_SIZE	0x0c
#define PICKY_BYTES	0x10
#define PICKY_KEY	0x18
#define PICKY_COUNT	0x1c

struct picky {
	void __iomem *registers;
	u32 version, size;
};

static noinline u32 picky_read(struct picky *picky, int offset)
{
	return readl(picky->registers + offset);
}

/* A value goes through memory, and comes back by a call. */
static noinline int picky_size(struct picky *picky)
{
	picky->size = picky_read(picky, PICKY_SIZE);
	return FIELD_GET(GENMASK(19, 12), picky->size);
}

static int picky_probe(struct platform_device *device)
{
	struct picky *picky = devm_kzalloc(&device->dev, sizeof(*picky), GFP_KERNEL);
	u32 status, key;
	u8 count;
	int error;

	if (!picky)
		return -ENOMEM;
	picky->registers = devm_platform_ioremap_resource(device, 0);
	if (IS_ERR(picky->registers))
		return PTR_ERR(picky->registers);
	if (picky_read(picky, PICKY_ID) != 0x5ca1ab1e)
		return dev_err_probe(&device->dev, -ENODEV, "no device\n");
	picky->version = picky_read(picky, PICKY_VERSION);
	if ((picky->version >> 8 & 0xff) != 7 || (picky->version & 0xff) < 3)
		return dev_err_probe(&device->dev, -ENXIO, "version %#x\n", picky->version);
	error = readl_poll_timeout(picky->registers + PICKY_STATUS, status, (status & BIT(30)) && !(status & BIT(3)), 10, 1000);
	if (error)
		return dev_err_probe(&device->dev, error, "not ready\n");
	if (picky_size(picky) != 0x42)
		return dev_err_probe(&device->dev, -E2BIG, "size\n");
	if (readb(picky->registers + PICKY_BYTES) != 'k' || readw(picky->registers + PICKY_BYTES + 2) != 0xb0c5)
		return dev_err_probe(&device->dev, -EILSEQ, "letters\n");
	key = swab32(picky_read(picky, PICKY_KEY)) ^ 0x12345678;
	if (key != 0x11223344)
		return dev_err_probe(&device->dev, -EKEYREJECTED, "key\n");
	count = readb(picky->registers + PICKY_COUNT);
	if (count < 5 || count > 6 || (count & 1))
		return dev_err_probe(&device->dev, -ERANGE, "count %u\n", count);
	dev_info(&device->dev, "all is well\n");
	return 0;
}

static const struct of_device_id picky_of[] = {
	{ .compatible = "acme,picky" },
	{ }
};
MODULE_DEVICE_TABLE(of, picky_of);

static const struct acpi_device_id picky_acpi[] = {
	{ "ACME0042" },
	{ }
};
MODULE_DEVICE_TABLE(acpi, picky_acpi);

static struct platform_driver picky_driver = {
	.probe = picky_probe,
	.driver = { .name = "picky", .of_match_table = picky_of, .acpi_match_table = ACPI_PTR(picky_acpi) },
};
module_platform_driver(picky_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver that wants much of its device");
