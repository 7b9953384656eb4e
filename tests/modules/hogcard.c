/* Rings the doorbell of an e1000 for ever: each time the card looks at a ring of 65,536 descriptors. */
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/pci.h>

static int hog_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	void __iomem *regs;
	dma_addr_t address;
	void *ring;
	int error = pcim_enable_device(pdev);

	if (error)
		return error;
	error = pcim_iomap_regions(pdev, 1, "hogcard");
	if (error)
		return error;
	regs = pcim_iomap_table(pdev)[0];
	pci_set_master(pdev);
	ring = dmam_alloc_coherent(&pdev->dev, 1 << 20, &address, GFP_KERNEL);
	if (!ring)
		return -ENOMEM;
	iowrite32(lower_32_bits(address), regs + 0x3800);
	iowrite32(upper_32_bits(address), regs + 0x3804);
	iowrite32(1 << 20, regs + 0x3808);
	iowrite32(2, regs + 0x400);
	for (;;) {
		iowrite32(0, regs + 0x3810);
		iowrite32(65535, regs + 0x3818);
		iowrite32(65535, regs + 0x3810);
		iowrite32(0, regs + 0x3818);
	}
}

static const struct pci_device_id hog_ids[] = { { PCI_DEVICE(0x8086, 0x100e) }, { } };
MODULE_DEVICE_TABLE(pci, hog_ids);
static struct pci_driver hog_driver = { .name = "hogcard", .id_table = hog_ids, .probe = hog_probe };
module_pci_driver(hog_driver);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A hostile driver");
