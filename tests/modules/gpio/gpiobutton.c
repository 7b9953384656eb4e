// SPDX-License-Identifier: GPL-2.0
/*
 * A driver for the devices of tests/devices/test_gpio.py, on the board, on I2C and on SPI: a button that interrupts, a lamp, and
 * a line that is read. In sysfs: state (level of each), lamp (write 0 or 1).
 */
#include <linux/gpio/consumer.h>
#include <linux/i2c.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/version.h>

struct panel {
	struct device *dev;
	struct gpio_desc *press, *lamp, *sense;
	int pressed;
};

static irqreturn_t panel_interrupt(int irq, void *data)
{
	struct panel *panel = data;

	panel->pressed++;
	return IRQ_HANDLED;
}

static ssize_t state_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct panel *panel = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%d pressed %d lamp %d sense %d\n", panel->pressed, gpiod_get_value(panel->press),
			  gpiod_get_value(panel->lamp), gpiod_get_value(panel->sense));
}
static DEVICE_ATTR_RO(state);

static ssize_t lamp_store(struct device *dev, struct device_attribute *attr, const char *buf, size_t count)
{
	struct panel *panel = dev_get_drvdata(dev);

	gpiod_set_value(panel->lamp, buf[0] == '1');
	return count;
}
static DEVICE_ATTR_WO(lamp);

static struct attribute *panel_attrs[] = { &dev_attr_state.attr, &dev_attr_lamp.attr, NULL };
ATTRIBUTE_GROUPS(panel);

static int panel_start(struct device *dev, int irq)
{
	struct panel *panel = devm_kzalloc(dev, sizeof(*panel), GFP_KERNEL);

	if (!panel)
		return -ENOMEM;
	panel->dev = dev;
	panel->press = devm_gpiod_get(dev, "press", GPIOD_IN);
	panel->lamp = devm_gpiod_get(dev, "lamp", GPIOD_OUT_HIGH);
	panel->sense = devm_gpiod_get(dev, "sense", GPIOD_IN);
	if (IS_ERR(panel->press) || IS_ERR(panel->lamp) || IS_ERR(panel->sense))
		return dev_err_probe(dev, -ENODEV, "no lines: %d %d %d\n", PTR_ERR_OR_ZERO(panel->press),
				     PTR_ERR_OR_ZERO(panel->lamp), PTR_ERR_OR_ZERO(panel->sense));
	if (irq <= 0)
		return dev_err_probe(dev, -ENODEV, "no interrupt: %d\n", irq);
	dev_set_drvdata(dev, panel);
	return devm_request_irq(dev, irq, panel_interrupt, IRQF_TRIGGER_RISING | IRQF_TRIGGER_FALLING, "gpiobutton", panel);
}

static int board_probe(struct platform_device *pdev)
{
	return panel_start(&pdev->dev, platform_get_irq(pdev, 0));
}

static const struct of_device_id panel_of[] = { { .compatible = "acme,panel" }, {} };
MODULE_DEVICE_TABLE(of, panel_of);

static struct platform_driver board_driver = {
	.driver = { .name = "gpiobutton", .of_match_table = panel_of, .dev_groups = panel_groups },
	.probe = board_probe,
};

#if IS_ENABLED(CONFIG_I2C)
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
static int client_probe(struct i2c_client *client)
#else
static int client_probe(struct i2c_client *client, const struct i2c_device_id *id)
#endif
{
	return panel_start(&client->dev, client->irq);
}

static const struct of_device_id client_of[] = { { .compatible = "acme,i2c-panel" }, {} };
static const struct i2c_device_id client_ids[] = { { "i2c-panel" }, {} };

static struct i2c_driver client_driver = {
	.driver = { .name = "gpiobutton", .of_match_table = client_of, .dev_groups = panel_groups },
	.probe = client_probe,
	.id_table = client_ids,
};
#endif

static int __init gpiobutton_init(void)
{
	int err = platform_driver_register(&board_driver);

#if IS_ENABLED(CONFIG_I2C)
	err = err ?: i2c_add_driver(&client_driver);
#endif
	return err;
}

static void __exit gpiobutton_exit(void)
{
#if IS_ENABLED(CONFIG_I2C)
	i2c_del_driver(&client_driver);
#endif
	platform_driver_unregister(&board_driver);
}

module_init(gpiobutton_init);
module_exit(gpiobutton_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Lines of GPIO, in and out");
