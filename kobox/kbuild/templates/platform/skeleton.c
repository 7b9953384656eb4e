// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a driver of a device on the board, which skeleton_model.py plays.
 *
 * Nothing tells that such a device is there but the firmware: a device tree,
 * or ACPI, announces it as compatible with "acme,skeleton", with its
 * registers, its interrupt and its properties. The device counts: what is
 * written to STEP is added to COUNT, and an interrupt tells when that is done.
 * The driver is probed asynchronously: loading the module does not wait for
 * slow hardware.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/property.h>
#include <linux/sysfs.h>

#define SKELETON_STEP	0x00
#define SKELETON_COUNT	0x04
#define SKELETON_STATUS	0x08	/* cleared by writing ones */
#define SKELETON_DONE	0x01

struct skeleton {
	struct device *dev;
	void __iomem *regs;
	struct completion done;
	u32 limit;	/* of one step, as the firmware says */
};

static irqreturn_t skeleton_irq(int irq, void *data)
{
	struct skeleton *sk = data;
	u32 status = ioread32(sk->regs + SKELETON_STATUS);

	/* Nothing: the interrupt of another device on the same line. */
	if (!(status & SKELETON_DONE))
		return IRQ_NONE;
	iowrite32(status, sk->regs + SKELETON_STATUS);
	complete(&sk->done);
	return IRQ_HANDLED;
}

static ssize_t count_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	struct skeleton *sk = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", ioread32(sk->regs + SKELETON_COUNT));
}

static ssize_t count_store(struct device *dev, struct device_attribute *attr,
			   const char *buf, size_t count)
{
	struct skeleton *sk = dev_get_drvdata(dev);
	u32 step;
	int err;

	err = kstrtou32(buf, 0, &step);
	if (err)
		return err;
	if (step > sk->limit)
		return -ERANGE;
	reinit_completion(&sk->done);
	iowrite32(step, sk->regs + SKELETON_STEP);
	if (!wait_for_completion_timeout(&sk->done, HZ))
		return -ETIMEDOUT;
	return count;
}
static DEVICE_ATTR_RW(count);

static struct attribute *skeleton_attrs[] = {
	&dev_attr_count.attr,
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
	int irq, err;

	/*
	 * What devm_ functions give goes away by itself, in reverse order, when
	 * probe fails and when the device goes: no remove() is needed.
	 */
	sk = devm_kzalloc(&pdev->dev, sizeof(*sk), GFP_KERNEL);
	if (!sk)
		return -ENOMEM;
	sk->dev = &pdev->dev;
	init_completion(&sk->done);
	platform_set_drvdata(pdev, sk);

	sk->regs = devm_platform_ioremap_resource(pdev, 0);
	if (IS_ERR(sk->regs))
		return PTR_ERR(sk->regs);
	err = device_property_read_u32(&pdev->dev, "acme,limit", &sk->limit);
	if (err)
		return dev_err_probe(&pdev->dev, err, "no acme,limit\n");
	irq = platform_get_irq(pdev, 0);
	if (irq < 0)
		return irq;
	err = devm_request_irq(&pdev->dev, irq, skeleton_irq, IRQF_SHARED,
			       dev_name(&pdev->dev), sk);
	if (err)
		return err;
	msleep(20);	/* the hardware wakes up */
	dev_info(&pdev->dev, "ready\n");
	return devm_add_action_or_reset(&pdev->dev, skeleton_off, sk);
}

/* Which devices this driver is for; the alias lets udev load it. */
static const struct of_device_id skeleton_of_match[] = {
	{ .compatible = "acme,skeleton" },
	{ }
};
MODULE_DEVICE_TABLE(of, skeleton_of_match);

static struct platform_driver skeleton_driver = {
	.probe = skeleton_probe,
	.driver = {
		.name = "skeleton",
		.of_match_table = skeleton_of_match,
		.dev_groups = skeleton_groups,
		.probe_type = PROBE_PREFER_ASYNCHRONOUS,
	},
};
module_platform_driver(skeleton_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver of a device on the board");
