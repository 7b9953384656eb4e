#include <linux/module.h>
#include <linux/pci.h>

static int probe_card(struct pci_dev *pdev, const struct pci_device_id *id)
{
	return -ENODEV;
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
