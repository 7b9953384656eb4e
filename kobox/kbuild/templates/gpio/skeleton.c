// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a driver of a GPIO controller with eight lines, which
 * skeleton_model.py plays.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/gpio/driver.h>
#include <linux/io.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/version.h>

#define SKELETON_IN	0x00	/* the level of each line */
#define SKELETON_OUT	0x04	/* what output lines are driven to */
#define SKELETON_DIR	0x08	/* 1: an output */
#define SKELETON_LINES	8

struct skeleton {
	struct gpio_chip chip;
	spinlock_t lock;	/* of registers that are read and written back */
	void __iomem *regs;
};

static void skeleton_update(struct skeleton *sk, unsigned int reg,
			    unsigned int line, bool on)
{
	unsigned long flags;
	u32 value;

	spin_lock_irqsave(&sk->lock, flags);
	value = readl(sk->regs + reg);
	value = on ? value | BIT(line) : value & ~BIT(line);
	writel(value, sk->regs + reg);
	spin_unlock_irqrestore(&sk->lock, flags);
}

static int skeleton_get_direction(struct gpio_chip *chip, unsigned int line)
{
	struct skeleton *sk = gpiochip_get_data(chip);

	return readl(sk->regs + SKELETON_DIR) & BIT(line) ?
	       GPIO_LINE_DIRECTION_OUT : GPIO_LINE_DIRECTION_IN;
}

static int skeleton_input(struct gpio_chip *chip, unsigned int line)
{
	skeleton_update(gpiochip_get_data(chip), SKELETON_DIR, line, false);
	return 0;
}

static int skeleton_output(struct gpio_chip *chip, unsigned int line, int value)
{
	struct skeleton *sk = gpiochip_get_data(chip);

	skeleton_update(sk, SKELETON_OUT, line, value);
	skeleton_update(sk, SKELETON_DIR, line, true);
	return 0;
}

static int skeleton_get(struct gpio_chip *chip, unsigned int line)
{
	struct skeleton *sk = gpiochip_get_data(chip);

	return !!(readl(sk->regs + SKELETON_IN) & BIT(line));
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
static void skeleton_set(struct gpio_chip *chip, unsigned int line, int value)
{
	skeleton_update(gpiochip_get_data(chip), SKELETON_OUT, line, value);
}
#else
static int skeleton_set(struct gpio_chip *chip, unsigned int line, int value)
{
	skeleton_update(gpiochip_get_data(chip), SKELETON_OUT, line, value);
	return 0;
}
#endif

static int skeleton_probe(struct platform_device *pdev)
{
	struct skeleton *sk;

	sk = devm_kzalloc(&pdev->dev, sizeof(*sk), GFP_KERNEL);
	if (!sk)
		return -ENOMEM;
	spin_lock_init(&sk->lock);
	sk->regs = devm_platform_ioremap_resource(pdev, 0);
	if (IS_ERR(sk->regs))
		return PTR_ERR(sk->regs);
	sk->chip.label = "skeleton";
	sk->chip.parent = &pdev->dev;
	sk->chip.owner = THIS_MODULE;
	sk->chip.base = -1;	/* any number */
	sk->chip.ngpio = SKELETON_LINES;
	sk->chip.get_direction = skeleton_get_direction;
	sk->chip.direction_input = skeleton_input;
	sk->chip.direction_output = skeleton_output;
	sk->chip.get = skeleton_get;
	sk->chip.set = skeleton_set;
	return devm_gpiochip_add_data(&pdev->dev, &sk->chip, sk);
}

static const struct acpi_device_id skeleton_acpi[] = {
	{ "KOBX0010" },
	{ }
};
MODULE_DEVICE_TABLE(acpi, skeleton_acpi);

static struct platform_driver skeleton_driver = {
	.probe = skeleton_probe,
	.driver = {
		.name = "skeleton",
		.acpi_match_table = skeleton_acpi,
	},
};
module_platform_driver(skeleton_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver of a GPIO controller");
