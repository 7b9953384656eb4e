// SPDX-License-Identifier: GPL-2.0
/*
 * A driver for the device of tests/devices/test_pci.py: registers, memory that the device reads and writes, interrupts of each
 * kind. /sys/bus/pci/devices/.../value, run and sum are how a test drives it.
 */
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/pci.h>

static char *irq = "any";
module_param(irq, charp, 0444);
MODULE_PARM_DESC(irq, "any, msix, msi or wire");

static bool master = true;
module_param(master, bool, 0444);
MODULE_PARM_DESC(master, "make the device a bus master");

static bool poll;
module_param(poll, bool, 0444);
MODULE_PARM_DESC(poll, "wait in probe() for a bit that never comes");

enum { CONTROL = 0x00, VALUE = 0x04, STATUS = 0x08, ADDRESS = 0x10, LENGTH = 0x18, BYTE = 0x1c, PORT = 0x04 };

struct counter {
	void __iomem *regs;
	void __iomem *ports;
	u8 *buffer;
	dma_addr_t where;
	int interrupts;
};

static irqreturn_t counter_interrupt(int number, void *data)
{
	struct counter *counter = data;
	u32 status = ioread32(counter->regs + STATUS);

	if (!status || status == ~0u)
		return IRQ_NONE;
	iowrite32(status, counter->regs + STATUS);
	counter->interrupts++;
	return IRQ_HANDLED;
}

static ssize_t value_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct counter *counter = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u %d %u %u\n", ioread32(counter->regs + VALUE), counter->interrupts,
			  ioread8(counter->regs + BYTE), ioread16(counter->ports + PORT));
}
static DEVICE_ATTR_RO(value);

static ssize_t run_store(struct device *dev, struct device_attribute *attr, const char *buf, size_t count)
{
	struct counter *counter = dev_get_drvdata(dev);

	iowrite32(1, counter->regs + CONTROL);
	return count;
}
static DEVICE_ATTR_WO(run);

static ssize_t reverse_store(struct device *dev, struct device_attribute *attr, const char *buf, size_t count)
{
	struct counter *counter = dev_get_drvdata(dev);

	if (count > PAGE_SIZE)
		return -EINVAL;
	memcpy(counter->buffer, buf, count);
	iowrite32(lower_32_bits(counter->where), counter->regs + ADDRESS);
	iowrite32(upper_32_bits(counter->where), counter->regs + ADDRESS + 4);
	iowrite32(count, counter->regs + LENGTH);
	return count;
}

static ssize_t reverse_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct counter *counter = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%s", counter->buffer);
}
static DEVICE_ATTR_RW(reverse);

static struct attribute *counter_attrs[] = { &dev_attr_value.attr, &dev_attr_run.attr, &dev_attr_reverse.attr, NULL };
ATTRIBUTE_GROUPS(counter);

static unsigned int kinds(void)
{
	if (!strcmp(irq, "msix"))
		return PCI_IRQ_MSIX;
	if (!strcmp(irq, "msi"))
		return PCI_IRQ_MSI;
	if (!strcmp(irq, "wire"))
		return 1; /* PCI_IRQ_LEGACY, PCI_IRQ_INTX since 6.8 */
	return PCI_IRQ_MSIX | PCI_IRQ_MSI | 1;
}

static int counter_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct counter *counter = devm_kzalloc(&pdev->dev, sizeof(*counter), GFP_KERNEL);
	int err;

	if (!counter)
		return -ENOMEM;
	err = pcim_enable_device(pdev);
	if (err)
		return err;
	err = pcim_iomap_regions(pdev, 1 << 0 | 1 << 2, "pcicounter");
	if (err)
		return err;
	counter->regs = pcim_iomap_table(pdev)[0];
	counter->ports = pcim_iomap_table(pdev)[2];
	if (master)
		pci_set_master(pdev);
	err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (err)
		return err;
	counter->buffer = dmam_alloc_coherent(&pdev->dev, PAGE_SIZE, &counter->where, GFP_KERNEL);
	if (!counter->buffer)
		return -ENOMEM;
	while (poll && !(ioread32(counter->regs + STATUS) & 0x8000))
		cpu_relax();
	err = pci_alloc_irq_vectors(pdev, 1, 1, kinds());
	if (err < 0)
		return err;
	err = request_irq(pci_irq_vector(pdev, 0), counter_interrupt, IRQF_SHARED, "pcicounter", counter);
	if (err) {
		pci_free_irq_vectors(pdev);
		return err;
	}
	pci_set_drvdata(pdev, counter);
	dev_info(&pdev->dev, "%s\n", pdev->msix_enabled ? "MSI-X" : pdev->msi_enabled ? "MSI" : "wire");
	return 0;
}

static void counter_remove(struct pci_dev *pdev)
{
	struct counter *counter = pci_get_drvdata(pdev);

	free_irq(pci_irq_vector(pdev, 0), counter);
	pci_free_irq_vectors(pdev);
	dev_info(&pdev->dev, "removed, value %x\n", ioread32(counter->regs + VALUE));
}

static const struct pci_device_id counter_ids[] = { { PCI_DEVICE(0x1234, 0x11e8) }, {} };
MODULE_DEVICE_TABLE(pci, counter_ids);

static struct pci_driver counter_driver = {
	.name = "pcicounter",
	.id_table = counter_ids,
	.probe = counter_probe,
	.remove = counter_remove,
	.dev_groups = counter_groups,
};
module_pci_driver(counter_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A counter on the PCI bus");
