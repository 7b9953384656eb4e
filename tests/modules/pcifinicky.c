// SPDX-License-Identifier: GPL-2.0
/*
 * A driver that takes nothing but the right device: a chip's number, a bit to wait for with a time limit, a length within bounds.
 * For tests/checks/phantom/test_search.py.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/pci.h>

static bool ports;
module_param(ports, bool, 0444);
MODULE_PARM_DESC(ports, "the registers must be ports");

static char *end = "";
module_param(end, charp, 0444);
MODULE_PARM_DESC(end, "oops, hang or never");

static int finicky_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	void __iomem *regs;
	u32 length;
	int err, tries;

	err = pcim_enable_device(pdev);
	if (err)
		return err;
	if (ports && !(pci_resource_flags(pdev, 0) & IORESOURCE_IO))
		return -EINVAL;
	regs = pcim_iomap(pdev, 0, 0);
	if (!regs)
		return -ENOMEM;
	if (!strcmp(end, "oops"))
		return *(volatile int *)16;
	while (!strcmp(end, "hang"))
		cpu_relax();
	if (!strcmp(end, "never"))
		return -ENODEV;
	if (ioread32(regs) != 0xc0ffee01)
		return -ENODEV;
	for (tries = 0; !(ioread32(regs + 8) & 0x40); tries++) {
		if (tries == 100)
			return -ETIMEDOUT;
		udelay(10);
	}
	length = ioread32(regs + 12);
	if (length < 0x200 || length > 0x10000)
		return -EIO;
	dev_info(&pdev->dev, "taken, %u bytes\n", length);
	return 0;
}

static const struct pci_device_id finicky_ids[] = { { PCI_DEVICE(0x1234, 0x11e9) }, {} };
MODULE_DEVICE_TABLE(pci, finicky_ids);

static struct pci_driver finicky_driver = { .name = "pcifinicky", .id_table = finicky_ids, .probe = finicky_probe };
module_pci_driver(finicky_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver that takes nothing but the right device");
