// SPDX-License-Identifier: GPL-2.0
/*
 * A driver for the devices of tests/devices/test_pci_express.py: what drivers ask of PCI itself. A file in sysfs for each:
 * lanes, sleep, flr, rom, serial, vital, errors; sriov_numvfs is the kernel's own.
 */
#include <linux/aer.h>
#include <linux/module.h>
#include <linux/pci.h>

enum { CONTROL = 0x00, WHO = 0x08 };

static ssize_t lanes_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct pci_dev *pdev = to_pci_dev(dev);
	u16 status = 0, control = 0;

	pcie_capability_read_word(pdev, PCI_EXP_LNKSTA, &status);
	pcie_capability_read_word(pdev, PCI_EXP_DEVCTL, &control);
	return sysfs_emit(buf, "%d speed %u width %u payload %d of %d control %x\n", pci_is_pcie(pdev), status & PCI_EXP_LNKSTA_CLS,
			  (status & PCI_EXP_LNKSTA_NLW) >> 4, pcie_get_mps(pdev), 128 << pdev->pcie_mpss, control & 0x10);
}
static DEVICE_ATTR_RO(lanes);

static ssize_t sleep_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct pci_dev *pdev = to_pci_dev(dev);
	void __iomem *regs = pci_get_drvdata(pdev);
	u32 before = ioread32(regs + CONTROL), asleep, after;

	pci_save_state(pdev);
	pci_set_power_state(pdev, PCI_D3hot);
	asleep = ioread32(regs + CONTROL);
	pci_set_power_state(pdev, PCI_D0);
	pci_restore_state(pdev);
	after = ioread32(regs + CONTROL);
	return sysfs_emit(buf, "%x %x %x\n", before, asleep, after);
}
static DEVICE_ATTR_RO(sleep);

static ssize_t flr_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct pci_dev *pdev = to_pci_dev(dev);
	void __iomem *regs = pci_get_drvdata(pdev);
	u32 before;
	int err;

	iowrite32(0x77, regs + CONTROL);
	before = ioread32(regs + CONTROL);
	err = pci_reset_function(pdev);
	return sysfs_emit(buf, "%d %x %x\n", err, before, ioread32(regs + CONTROL));
}
static DEVICE_ATTR_RO(flr);

static ssize_t image_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct pci_dev *pdev = to_pci_dev(dev);
	void __iomem *rom;
	size_t size = 0;
	char text[16] = "none";

	rom = pci_map_rom(pdev, &size);
	if (rom) {
		memcpy_fromio(text, rom + 0x34, 8);
		text[8] = 0;
		pci_unmap_rom(pdev, rom);
	}
	return sysfs_emit(buf, "%zu %s\n", size, text);
}
static DEVICE_ATTR_RO(image);

static ssize_t serial_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llx\n", pci_get_dsn(to_pci_dev(dev)));
}
static DEVICE_ATTR_RO(serial);

static ssize_t vital_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	char text[9] = "";
	ssize_t got = pci_read_vpd(to_pci_dev(dev), 3, 8, text);

	return sysfs_emit(buf, "%zd %s\n", got, text);
}
static DEVICE_ATTR_RO(vital);

static ssize_t errors_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct pci_dev *pdev = to_pci_dev(dev);
	int at = pci_find_ext_capability(pdev, PCI_EXT_CAP_ID_ERR);
	u32 mask = 0;
	u16 control = 0;

	pci_write_config_dword(pdev, at + PCI_ERR_COR_MASK, 0x41);
	pci_read_config_dword(pdev, at + PCI_ERR_COR_MASK, &mask);
	pcie_capability_read_word(pdev, PCI_EXP_DEVCTL, &control);
	return sysfs_emit(buf, "%x %x %x\n", at, mask, control & 0xf);
}
static DEVICE_ATTR_RO(errors);

static ssize_t who_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%x\n", ioread32(pci_get_drvdata(to_pci_dev(dev)) + WHO));
}
static DEVICE_ATTR_RO(who);

static struct attribute *express_attrs[] = {
	&dev_attr_lanes.attr, &dev_attr_sleep.attr, &dev_attr_flr.attr,    &dev_attr_image.attr,
	&dev_attr_serial.attr, &dev_attr_vital.attr, &dev_attr_errors.attr, &dev_attr_who.attr, NULL,
};
ATTRIBUTE_GROUPS(express);

static irqreturn_t express_interrupt(int number, void *data)
{
	struct pci_dev *pdev = data;
	void __iomem *regs = pci_get_drvdata(pdev);

	if (!ioread32(regs + 4))
		return IRQ_NONE;
	iowrite32(0, regs + 4);
	dev_info(&pdev->dev, "interrupt\n");
	return IRQ_HANDLED;
}

static int express_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int err = pcim_enable_device(pdev);

	if (err)
		return err;
	err = pcim_iomap_regions(pdev, 1 << 0, "pciexpress");
	if (err)
		return err;
	pci_set_master(pdev);
	pci_set_drvdata(pdev, pcim_iomap_table(pdev)[0]);
	err = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSIX | PCI_IRQ_MSI | 1);
	if (err < 0)
		return err;
	err = devm_request_irq(&pdev->dev, pci_irq_vector(pdev, 0), express_interrupt, IRQF_SHARED, "pciexpress", pdev);
	if (err)
		return err;
	pci_save_state(pdev);
	pcie_print_link_status(pdev);
	dev_info(&pdev->dev, "is%s virtual\n", pdev->is_virtfn ? "" : " not");
	return 0;
}

static void express_remove(struct pci_dev *pdev)
{
	pci_disable_sriov(pdev);
	devm_free_irq(&pdev->dev, pci_irq_vector(pdev, 0), pdev);
	pci_free_irq_vectors(pdev);
}

static pci_ers_result_t express_error(struct pci_dev *pdev, pci_channel_state_t state)
{
	dev_info(&pdev->dev, "error detected, channel %d\n", state);
	return state == pci_channel_io_normal ? PCI_ERS_RESULT_CAN_RECOVER : PCI_ERS_RESULT_NEED_RESET;
}

static pci_ers_result_t express_reset(struct pci_dev *pdev)
{
	pci_restore_state(pdev);
	dev_info(&pdev->dev, "slot reset\n");
	return PCI_ERS_RESULT_RECOVERED;
}

static void express_resume(struct pci_dev *pdev)
{
	dev_info(&pdev->dev, "resume\n");
}

static const struct pci_error_handlers express_errors = {
	.error_detected = express_error,
	.slot_reset = express_reset,
	.resume = express_resume,
};

static const struct pci_device_id express_ids[] = { { PCI_DEVICE(0x1234, 0x11ec) }, { PCI_DEVICE(0x1234, 0x11ed) }, {} };
MODULE_DEVICE_TABLE(pci, express_ids);

static struct pci_driver express_driver = {
	.name = "pciexpress",
	.id_table = express_ids,
	.probe = express_probe,
	.remove = express_remove,
	.sriov_configure = pci_sriov_configure_simple,
	.dev_groups = express_groups,
	.err_handler = &express_errors,
};
module_pci_driver(express_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("What drivers ask of PCI itself");
