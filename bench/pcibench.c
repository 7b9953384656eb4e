// SPDX-License-Identifier: GPL-2.0
/* A driver that reads a register as often as it is told, and acknowledges interrupts: for bench/hardware.py. */
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/pci.h>

static void __iomem *regs;
static void *buffer;
static dma_addr_t bus;

static irqreturn_t handler(int irq, void *data)
{
	writel(1, regs + 8);
	return IRQ_HANDLED;
}

static ssize_t reads_store(struct device *dev, struct device_attribute *attr, const char *text, size_t size)
{
	unsigned long n;

	if (kstrtoul(text, 0, &n))
		return -EINVAL;
	while (n--)
		readl(regs);
	return size;
}
static DEVICE_ATTR_WO(reads);

static ssize_t go_store(struct device *dev, struct device_attribute *attr, const char *text, size_t size)
{
	unsigned long n;

	if (kstrtoul(text, 0, &n))
		return -EINVAL;
	while (n--) {
		writel(1, regs + 4);
		cpu_relax();
	}
	return size;
}
static DEVICE_ATTR_WO(go);

static int bench_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int err = pcim_enable_device(pdev);

	if (err)
		return err;
	pci_set_master(pdev);
	regs = pcim_iomap(pdev, 0, 0);
	buffer = dmam_alloc_coherent(&pdev->dev, 65536, &bus, GFP_KERNEL);
	if (!regs || !buffer || pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSI) != 1)
		return -ENOMEM;
	writel(bus, regs + 12);
	err = request_irq(pci_irq_vector(pdev, 0), handler, 0, "pcibench", pdev);
	if (!err)
		err = device_create_file(&pdev->dev, &dev_attr_reads);
	return err ? err : device_create_file(&pdev->dev, &dev_attr_go);
}

static void bench_remove(struct pci_dev *pdev)
{
	device_remove_file(&pdev->dev, &dev_attr_go);
	device_remove_file(&pdev->dev, &dev_attr_reads);
	free_irq(pci_irq_vector(pdev, 0), pdev);
	pci_free_irq_vectors(pdev);
}

static const struct pci_device_id bench_ids[] = { { PCI_DEVICE(0x1234, 0x11ec) }, {} };
MODULE_DEVICE_TABLE(pci, bench_ids);
static struct pci_driver bench_driver = {
	.name = "pcibench", .id_table = bench_ids, .probe = bench_probe, .remove = bench_remove,
};
module_pci_driver(bench_driver);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver that reads a register as often as it is told");
