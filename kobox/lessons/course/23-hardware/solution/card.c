#include <linux/module.h>
#include <linux/pci.h>

static int probe_card(struct pci_dev *pdev, const struct pci_device_id *id)
{
	void __iomem *registers;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	registers = pcim_iomap(pdev, 0, 0);
	if (!registers)
		return -ENOMEM;
	pr_info("card: id %08x\n", ioread32(registers));
	iowrite32(0x12345678, registers + 4);
	if (ioread32(registers + 4) != ~0x12345678)
		return -EIO;
	pr_info("card: alive\n");
	return 0;
}

static void remove_card(struct pci_dev *pdev)
{
	/* What begins with pcim_ needs nothing here. */
}

static const struct pci_device_id ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{ }
};
MODULE_DEVICE_TABLE(pci, ids);

static struct pci_driver card_driver = {
	.name = "card",
	.id_table = ids,
	.probe = probe_card,
	.remove = remove_card,
};
module_pci_driver(card_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver of a PCI card");
