// SPDX-License-Identifier: GPL-2.0
/* An SPI driver that handles errors of the bus rightly, or, with `careless`, makes one mistake when a message fails. */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spi/spi.h>

static char *careless = "";
module_param(careless, charp, 0444);

struct chip {
	u8 *buffer;
	u32 *table;
};

static int start(struct spi_device *spi)
{
	u8 message[] = { 0x20, 1 };

	return spi_write(spi, message, sizeof(message));
}

static int chip_probe(struct spi_device *spi)
{
	struct chip *chip = kzalloc(sizeof(*chip), GFP_KERNEL);
	u8 look = 0x80;
	int number, error = -ENODEV;

	if (!chip)
		return -ENOMEM;
	number = spi_w8r8(spi, 0x8f);
	if (number != 0x5a)
		goto free_chip;
	error = -ENOMEM;
	chip->buffer = kmalloc(4, GFP_KERNEL);
	if (!chip->buffer)
		goto free_chip;
	chip->table = kcalloc(16, sizeof(*chip->table), GFP_KERNEL);
	if (!chip->table)
		goto free_buffer;
	error = spi_write_then_read(spi, &look, 1, chip->buffer, 4);
	if (error && !strcmp(careless, "leak"))
		goto free_buffer; /* the table is forgotten */
	if (error)
		goto free_table;
	error = start(spi);
	if (error) {
		kfree(chip->table);
		kfree(chip->buffer);
		if (!strcmp(careless, "late"))
			dev_err(&spi->dev, "not started, first byte %d\n", chip->buffer[0]);
		goto free_chip;
	}
	spi_set_drvdata(spi, chip);
	return 0;

free_table:
	kfree(chip->table);
free_buffer:
	kfree(chip->buffer);
free_chip:
	kfree(chip);
	return error;
}

static void chip_remove(struct spi_device *spi)
{
	struct chip *chip = spi_get_drvdata(spi);

	kfree(chip->table);
	kfree(chip->buffer);
	kfree(chip);
}

static const struct spi_device_id ids[] = { { "spilost", 0 }, {} };
MODULE_DEVICE_TABLE(spi, ids);

static struct spi_driver chip_driver = {
	.driver = { .name = "spilost" },
	.probe = chip_probe,
	.remove = chip_remove,
	.id_table = ids,
};
module_spi_driver(chip_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("an SPI driver and its handling of errors");
