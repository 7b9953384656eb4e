/* A driver of QEMU's edu device: attributes `liveness`, `factorial`, `echo` (memory to the device and back). */
#include <linux/io-64-nonatomic-lo-hi.h> /* writeq() on processors of 32 bits */
#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/pci.h>

struct edu {
	void __iomem *regs;
	struct completion done;
	char *buffer;
	dma_addr_t address;
};

static irqreturn_t edu_irq(int irq, void *data)
{
	struct edu *edu = data;
	u32 status = ioread32(edu->regs + 0x24);

	if (!status)
		return IRQ_NONE;
	iowrite32(status, edu->regs + 0x64);
	complete(&edu->done);
	return IRQ_HANDLED;
}

static int edu_wait(struct edu *edu)
{
	return wait_for_completion_timeout(&edu->done, HZ) ? 0 : -ETIMEDOUT;
}

static ssize_t liveness_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct edu *edu = dev_get_drvdata(dev);

	iowrite32(0x12345678, edu->regs + 4);
	return sysfs_emit(buf, "%08x\n", ioread32(edu->regs + 4));
}
static DEVICE_ATTR_RO(liveness);

static ssize_t factorial_store(struct device *dev, struct device_attribute *attr, const char *buf, size_t count)
{
	struct edu *edu = dev_get_drvdata(dev);
	u32 value;

	if (kstrtou32(buf, 0, &value))
		return -EINVAL;
	iowrite32(0x80, edu->regs + 0x20);
	iowrite32(value, edu->regs + 8);
	return edu_wait(edu) ?: count;
}

static ssize_t factorial_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct edu *edu = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", ioread32(edu->regs + 8));
}
static DEVICE_ATTR_RW(factorial);

static int edu_copy(struct edu *edu, u64 from, u64 to, u64 count, u64 command)
{
	writeq(from, edu->regs + 0x80);
	writeq(to, edu->regs + 0x88);
	writeq(count, edu->regs + 0x90);
	writeq(command, edu->regs + 0x98);
	return edu_wait(edu);
}

static ssize_t echo_store(struct device *dev, struct device_attribute *attr, const char *buf, size_t count)
{
	struct edu *edu = dev_get_drvdata(dev);
	size_t size = min_t(size_t, count, 256);

	memcpy(edu->buffer, buf, size);
	return edu_copy(edu, edu->address, 0x40000, size, 5) ?: edu_copy(edu, 0x40000, edu->address + 256, size, 7) ?: count;
}

static ssize_t echo_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct edu *edu = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%s\n", edu->buffer + 256);
}
static DEVICE_ATTR_RW(echo);

static struct attribute *edu_attrs[] = { &dev_attr_liveness.attr, &dev_attr_factorial.attr, &dev_attr_echo.attr, NULL };
ATTRIBUTE_GROUPS(edu);

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct edu *edu = devm_kzalloc(&pdev->dev, sizeof(*edu), GFP_KERNEL);
	int error;

	if (!edu)
		return -ENOMEM;
	init_completion(&edu->done);
	error = pcim_enable_device(pdev);
	if (error)
		return error;
	error = pcim_iomap_regions(pdev, 1, "edu");
	if (error)
		return error;
	edu->regs = pcim_iomap_table(pdev)[0];
	error = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(28));
	if (error)
		return error;
	edu->buffer = dmam_alloc_coherent(&pdev->dev, 4096, &edu->address, GFP_KERNEL);
	if (!edu->buffer)
		return -ENOMEM;
	pci_set_master(pdev);
	pci_set_drvdata(pdev, edu);
	error = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_ALL_TYPES);
	if (error < 0)
		return error;
	error = devm_request_irq(&pdev->dev, pci_irq_vector(pdev, 0), edu_irq, IRQF_SHARED, "edu", edu);
	if (!error)
		pci_info(pdev, "edu %08x\n", ioread32(edu->regs));
	return error;
}

static const struct pci_device_id edu_ids[] = { { PCI_DEVICE(0x1234, 0x11e8) }, { } };
MODULE_DEVICE_TABLE(pci, edu_ids);

static struct pci_driver edu_driver = {
	.name = "edu", .id_table = edu_ids, .probe = edu_probe, .dev_groups = edu_groups,
};
module_pci_driver(edu_driver);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Driver of QEMU's edu device");
