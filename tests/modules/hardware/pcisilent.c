// SPDX-License-Identifier: GPL-2.0
/*
 * A driver that waits for an interrupt in its probe function, and whose handler leaves something for it. With careless=1 it does
 * not look whether the interrupt came. For tests/checks/phantom/test_hostile.py.
 */
#include <linux/completion.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/pci.h>

static bool careless;
module_param(careless, bool, 0444);
MODULE_PARM_DESC(careless, "do not look whether the interrupt came");

struct silent {
	struct completion done;
	int answer;
	int *where;
};

static irqreturn_t silent_interrupt(int irq, void *data)
{
	struct silent *silent = data;

	silent->where = &silent->answer;
	complete(&silent->done);
	return IRQ_HANDLED;
}

static int silent_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct silent *silent = devm_kzalloc(&pdev->dev, sizeof(*silent), GFP_KERNEL);
	int err;

	if (!silent)
		return -ENOMEM;
	init_completion(&silent->done);
	err = pcim_enable_device(pdev);
	if (err)
		return err;
	err = devm_request_irq(&pdev->dev, pdev->irq, silent_interrupt, IRQF_SHARED, "pcisilent", silent);
	if (err)
		return err;
	if (!wait_for_completion_timeout(&silent->done, HZ) && !careless)
		return -ETIMEDOUT;
	dev_info(&pdev->dev, "answer %d\n", *silent->where);
	return 0;
}

static const struct pci_device_id silent_ids[] = { { PCI_DEVICE(0x1234, 0x11ef) }, {} };
MODULE_DEVICE_TABLE(pci, silent_ids);

static struct pci_driver silent_driver = { .name = "pcisilent", .id_table = silent_ids, .probe = silent_probe };
module_pci_driver(silent_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver that waits for an interrupt");
