// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a driver of a PCI card, which skeleton_model.py plays.
 *
 * The card adds up numbers: what is written to ADD is added to SUM, and an
 * interrupt tells when that is done.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/sysfs.h>

#define SKELETON_ADD	0x00
#define SKELETON_SUM	0x04
#define SKELETON_STATUS	0x08	/* cleared by writing ones */
#define SKELETON_DONE	0x01

struct skeleton {
	void __iomem *regs;
	struct completion done;
};

static irqreturn_t skeleton_irq(int irq, void *data)
{
	struct skeleton *sk = data;
	u32 status = ioread32(sk->regs + SKELETON_STATUS);

	/* All ones: the card is gone. Nothing: another device's interrupt. */
	if (status == ~0U || !(status & SKELETON_DONE))
		return IRQ_NONE;
	iowrite32(status, sk->regs + SKELETON_STATUS);
	complete(&sk->done);
	return IRQ_HANDLED;
}

static ssize_t sum_show(struct device *dev, struct device_attribute *attr,
			char *buf)
{
	struct skeleton *sk = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", ioread32(sk->regs + SKELETON_SUM));
}

static ssize_t sum_store(struct device *dev, struct device_attribute *attr,
			 const char *buf, size_t count)
{
	struct skeleton *sk = dev_get_drvdata(dev);
	u32 value;
	int err;

	err = kstrtou32(buf, 0, &value);
	if (err)
		return err;
	reinit_completion(&sk->done);
	iowrite32(value, sk->regs + SKELETON_ADD);
	if (!wait_for_completion_timeout(&sk->done, HZ))
		return -ETIMEDOUT;
	return count;
}
static DEVICE_ATTR_RW(sum);

static struct attribute *skeleton_attrs[] = {
	&dev_attr_sum.attr,
	NULL,
};
ATTRIBUTE_GROUPS(skeleton);

static void skeleton_free_vectors(void *pdev)
{
	pci_free_irq_vectors(pdev);
}

static int skeleton_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct skeleton *sk;
	int err;

	sk = devm_kzalloc(&pdev->dev, sizeof(*sk), GFP_KERNEL);
	if (!sk)
		return -ENOMEM;
	init_completion(&sk->done);
	pci_set_drvdata(pdev, sk);

	/* pcim_ and devm_ functions: what they give goes away by itself. */
	err = pcim_enable_device(pdev);
	if (err)
		return err;
	err = pcim_iomap_regions(pdev, BIT(0), KBUILD_MODNAME);
	if (err)
		return err;
	sk->regs = pcim_iomap_table(pdev)[0];
	pci_set_master(pdev);	/* interrupts by message are writes, too */

	err = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_ALL_TYPES);
	if (err < 0)
		return err;
	err = devm_add_action_or_reset(&pdev->dev, skeleton_free_vectors, pdev);
	if (err)
		return err;
	err = devm_request_irq(&pdev->dev, pci_irq_vector(pdev, 0),
			       skeleton_irq, IRQF_SHARED, KBUILD_MODNAME, sk);
	if (err)
		return err;
	pci_info(pdev, "ready\n");
	return 0;
}

static const struct pci_device_id skeleton_ids[] = {
	{ PCI_DEVICE(0x1234, 0x5678) },
	{ }
};
MODULE_DEVICE_TABLE(pci, skeleton_ids);

static struct pci_driver skeleton_driver = {
	.name = KBUILD_MODNAME,
	.id_table = skeleton_ids,
	.probe = skeleton_probe,
	.dev_groups = skeleton_groups,
};
module_pci_driver(skeleton_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver of a PCI card");
