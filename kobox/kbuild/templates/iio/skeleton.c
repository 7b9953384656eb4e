// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: an IIO driver of an analogue-to-digital converter with two
 * channels on an I2C bus, which skeleton_model.py plays.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/i2c.h>
#include <linux/iio/iio.h>
#include <linux/module.h>
#include <linux/version.h>

#define SKELETON_VOLTAGE(n)	(n)	/* 16 bits, the high byte first */

#define SKELETON_CHANNEL(n) {						\
	.type = IIO_VOLTAGE,						\
	.indexed = 1,							\
	.channel = (n),							\
	.info_mask_separate = BIT(IIO_CHAN_INFO_RAW),			\
	.info_mask_shared_by_type = BIT(IIO_CHAN_INFO_SCALE),		\
}

static const struct iio_chan_spec skeleton_channels[] = {
	SKELETON_CHANNEL(0),
	SKELETON_CHANNEL(1),
};

struct skeleton {
	struct i2c_client *client;
};

static int skeleton_read_raw(struct iio_dev *indio,
			     const struct iio_chan_spec *chan, int *val,
			     int *val2, long mask)
{
	struct skeleton *sk = iio_priv(indio);
	int value;

	switch (mask) {
	case IIO_CHAN_INFO_RAW:
		value = i2c_smbus_read_word_swapped(sk->client,
					SKELETON_VOLTAGE(chan->channel));
		if (value < 0)
			return value;
		*val = value;
		return IIO_VAL_INT;
	case IIO_CHAN_INFO_SCALE:	/* millivolts for each step */
		*val = 0;
		*val2 = 50000;
		return IIO_VAL_INT_PLUS_MICRO;
	default:
		return -EINVAL;
	}
}

static const struct iio_info skeleton_info = {
	.read_raw = skeleton_read_raw,
};

static int skeleton_probe(struct i2c_client *client)
{
	struct iio_dev *indio;
	struct skeleton *sk;

	indio = devm_iio_device_alloc(&client->dev, sizeof(*sk));
	if (!indio)
		return -ENOMEM;
	sk = iio_priv(indio);
	sk->client = client;
	indio->name = "skeleton";
	indio->info = &skeleton_info;
	indio->modes = INDIO_DIRECT_MODE;
	indio->channels = skeleton_channels;
	indio->num_channels = ARRAY_SIZE(skeleton_channels);
	return devm_iio_device_register(&client->dev, indio);
}

static const struct i2c_device_id skeleton_ids[] = {
	{ "skeleton" },
	{ }
};
MODULE_DEVICE_TABLE(i2c, skeleton_ids);

static struct i2c_driver skeleton_driver = {
	.driver = {
		.name = "skeleton",
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
MODULE_DESCRIPTION("An IIO driver of an analogue-to-digital converter");
