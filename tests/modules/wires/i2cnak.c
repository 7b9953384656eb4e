// SPDX-License-Identifier: GPL-2.0
/* An I2C driver that handles errors of the bus rightly, or, with `careless`, makes one mistake when a transfer fails. */
#include <linux/i2c.h>
#include <linux/module.h>
#include <linux/slab.h>

static char *careless = "";
module_param(careless, charp, 0444);

struct chip {
	u8 *buffer;
	u32 *table;
	u8 first;
};

static int look(struct i2c_client *client, struct chip *chip)
{
	struct i2c_msg messages[] = {
		{ .addr = client->addr, .len = 1, .buf = &chip->first },
		{ .addr = client->addr, .flags = I2C_M_RD, .len = 4, .buf = chip->buffer },
	};
	int done = i2c_transfer(client->adapter, messages, 2);

	return done == 2 ? 0 : done < 0 ? done : -EIO;
}

static int chip_probe(struct i2c_client *client, const struct i2c_device_id *id)
{
	struct chip *chip = kzalloc(sizeof(*chip), GFP_KERNEL);
	int number, error = -ENODEV;

	if (!chip)
		return -ENOMEM;
	number = i2c_smbus_read_byte_data(client, 0x0f);
	if (number != 0x5a)
		goto free_chip;
	error = -ENOMEM;
	chip->buffer = kmalloc(4, GFP_KERNEL);
	if (!chip->buffer)
		goto free_chip;
	chip->table = kcalloc(16, sizeof(*chip->table), GFP_KERNEL);
	if (!chip->table)
		goto free_buffer;
	error = look(client, chip);
	if (error && !strcmp(careless, "leak"))
		goto free_buffer; /* the table is forgotten */
	if (error)
		goto free_table;
	error = i2c_smbus_write_byte_data(client, 0x20, 1);
	if (error) {
		kfree(chip->table);
		kfree(chip->buffer);
		if (!strcmp(careless, "late"))
			dev_err(&client->dev, "not started, first byte %d\n", chip->buffer[0]);
		goto free_chip;
	}
	i2c_set_clientdata(client, chip);
	return 0;

free_table:
	kfree(chip->table);
free_buffer:
	kfree(chip->buffer);
free_chip:
	kfree(chip);
	return error;
}

static void chip_remove(struct i2c_client *client)
{
	struct chip *chip = i2c_get_clientdata(client);

	i2c_smbus_write_byte_data(client, 0x20, 0);
	kfree(chip->table);
	kfree(chip->buffer);
	kfree(chip);
}

static const struct i2c_device_id ids[] = { { "i2cnak", 0 }, {} };
MODULE_DEVICE_TABLE(i2c, ids);

static struct i2c_driver chip_driver = {
	.driver = { .name = "i2cnak" },
	.probe = chip_probe,
	.remove = chip_remove,
	.id_table = ids,
};
module_i2c_driver(chip_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("an I2C driver and its handling of errors");
