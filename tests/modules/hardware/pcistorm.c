// SPDX-License-Identifier: GPL-2.0
/*
 * A driver whose handler keeps what it was told in a ring. With careless=early the ring is there only after the interrupt was
 * requested. For tests/checks/phantom/test_hostile.py.
 */
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#define ENTRIES 8

static char *careless = "";
module_param(careless, charp, 0444);
MODULE_PARM_DESC(careless, "the mistake: early");

struct storm {
	u32 *ring;
	unsigned int head;
};

static irqreturn_t storm_interrupt(int irq, void *data)
{
	struct storm *storm = data;

	if (storm->head < ENTRIES)
		storm->ring[storm->head++] = irq;
	return IRQ_HANDLED;
}

static void free_ring(void *ring)
{
	kfree(ring);
}

static int storm_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct storm *storm = devm_kzalloc(&pdev->dev, sizeof(*storm), GFP_KERNEL);
	u32 *ring;
	int err;

	if (!storm)
		return -ENOMEM;
	ring = kcalloc(ENTRIES, sizeof(*ring), GFP_KERNEL);
	if (!ring)
		return -ENOMEM;
	err = devm_add_action_or_reset(&pdev->dev, free_ring, ring);
	if (err)
		return err;
	if (strcmp(careless, "early"))
		storm->ring = ring;
	err = pcim_enable_device(pdev);
	if (err)
		return err;
	err = devm_request_irq(&pdev->dev, pdev->irq, storm_interrupt, IRQF_SHARED, "pcistorm", storm);
	if (err)
		return err;
	storm->ring = ring;
	return 0;
}

static const struct pci_device_id storm_ids[] = { { PCI_DEVICE(0x1234, 0x11f0) }, {} };
MODULE_DEVICE_TABLE(pci, storm_ids);

static struct pci_driver storm_driver = { .name = "pcistorm", .id_table = storm_ids, .probe = storm_probe };
module_pci_driver(storm_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver that is interrupted without end");
