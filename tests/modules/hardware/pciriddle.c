// SPDX-License-Identifier: GPL-2.0
/*
 * A driver whose probe function wants a device of one kind, chosen by a parameter: what it asks the kernel for fails with any
 * other. For tests/checks/phantom/test_search.py.
 */
#include <linux/module.h>
#include <linux/namei.h>
#include <linux/pci.h>
#include <linux/platform_device.h>

static char *riddle = "express";
module_param(riddle, charp, 0444);
MODULE_PARM_DESC(riddle, "which riddle is to be solved");

static int express(struct pci_dev *pdev)
{
	u16 status = 0;

	pcie_capability_read_word(pdev, PCI_EXP_LNKSTA, &status);
	return status & PCI_EXP_LNKSTA_NLW ? 0 : -ENODEV;
}

static int serial(struct pci_dev *pdev)
{
	return pci_find_ext_capability(pdev, PCI_EXT_CAP_ID_DSN) ? 0 : -ENODEV;
}

static int image(struct pci_dev *pdev)
{
	size_t size;
	void __iomem *rom = pci_map_rom(pdev, &size);
	int err;

	if (!rom)
		return -ENOENT;
	err = readl(rom + 0x100) == 0x424f4f54 ? 0 : -EBADMSG;
	pci_unmap_rom(pdev, rom);
	return err;
}

static int region(struct pci_dev *pdev)
{
	if (!request_mem_region(pci_resource_start(pdev, 0), 0x4000000, "pciriddle"))
		return -EBUSY;
	release_mem_region(pci_resource_start(pdev, 0), 0x4000000);
	return 0;
}

static int beside(struct pci_dev *pdev)
{
	struct pci_dev *bridge = pci_get_device(0x1234, 0x7777, NULL);
	u8 value = 0;

	if (!bridge)
		return -ENODEV;
	pci_read_config_byte(bridge, 0x5e, &value);
	pci_dev_put(bridge);
	return (value & 0x1e) == 0x12 ? 0 : -EINVAL;
}

/* One bit says whether there are ports at all, others where: that decides nothing here, but the kernel refuses what is taken. */
static int partly(struct pci_dev *pdev)
{
	u32 value = 0;

	pci_read_config_dword(pdev, 0x84, &value);
	if (!(value & 0x80000000))
		return -ENODEV;
	if (!request_region(value & 0xfff0, 64, "pciriddle"))
		return -EBUSY;
	release_region(value & 0xfff0, 64);
	return 0;
}

/* The table has any device of a class; one with this number is wanted. */
static int number(struct pci_dev *pdev)
{
	return pdev->device == 0x1042 ? 0 : -ENODEV;
}

static int capability(struct pci_dev *pdev)
{
	int at = pci_find_capability(pdev, PCI_CAP_ID_AGP);
	u32 status = 0;

	if (!at)
		return -ENODEV;
	pci_read_config_dword(pdev, at + PCI_AGP_STATUS, &status);
	return status >> 24 == 0x1f ? 0 : -EINVAL;
}

static int vendors(struct pci_dev *pdev)
{
	int at = pci_find_dvsec_capability(pdev, 0x8086, 0x17);
	u32 value = 0;

	if (!at)
		return -ENODEV;
	pci_read_config_dword(pdev, at + 0x0c, &value);
	return value == 0x600df00d ? 0 : -EINVAL;
}

/* Another function of the same card, by its place; by its IDs; without being asked for. */
static int sibling(struct pci_dev *pdev)
{
	struct pci_dev *other = pci_get_slot(pdev->bus, PCI_DEVFN(PCI_SLOT(pdev->devfn), 3));
	u8 value = 0;

	if (!other)
		return -ENODEV;
	pci_read_config_byte(other, 0x44, &value);
	pci_dev_put(other);
	return value & 1 ? 0 : -EINVAL;
}

static int alike(struct pci_dev *pdev)
{
	struct pci_dev *other = NULL;

	while ((other = pci_get_device(0x1234, 0x5678, other)))
		if (PCI_FUNC(other->devfn) == 2 && other->vendor == 0x1234) {
			pci_dev_put(other);
			return 0;
		}
	return -ENODEV;
}

static int unseen(struct pci_dev *pdev)
{
	u32 value = 0;

	pci_bus_read_config_dword(pdev->bus, PCI_DEVFN(PCI_SLOT(pdev->devfn), 5), 0x50, &value);
	return value == 0x51 ? 0 : -ENODEV;
}

static int slot(struct pci_dev *pdev) { return PCI_SLOT(pdev->devfn) == 0x1e ? 0 : -ENODEV; }

/* What firmware does with a card before the kernel runs. */
static int started(struct pci_dev *pdev)
{
	u16 command = 0;

	pci_read_config_word(pdev, PCI_COMMAND, &command);
	return command & PCI_COMMAND_MASTER ? 0 : -ENODEV;
}

/* A port that has its number from long ago, and belongs to no BAR. */
static int legacy(struct pci_dev *pdev) { return inb(0x3cf) == 0x5a ? 0 : -ENODEV; }

static int directory(struct pci_dev *pdev)
{
	struct path path;
	int err = kern_path("/lib/firmware/pciriddle", LOOKUP_DIRECTORY, &path);

	if (!err)
		path_put(&path);
	return err;
}

static const struct { const char *name; int (*solve)(struct pci_dev *pdev); } riddles[] = {
	{ "express", express },	      { "serial", serial },   { "image", image },   { "region", region },
	{ "beside", beside },	      { "partly", partly },   { "number", number }, { "capability", capability },
	{ "vendors", vendors },	      { "sibling", sibling }, { "alike", alike },   { "unseen", unseen },
	{ "slot", slot },	      { "started", started }, { "legacy", legacy }, { "directory", directory },
};

static int solve(struct pci_dev *pdev)
{
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(riddles); n++)
		if (!strcmp(riddle, riddles[n].name))
			return riddles[n].solve(pdev);
	return -EINVAL;
}

static int riddle_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int err = pcim_enable_device(pdev);

	return err ? err : solve(pdev);
}

static const struct pci_device_id riddle_ids[] = { { PCI_DEVICE_CLASS(0x0880aa, 0xffffff) }, {} };
MODULE_DEVICE_TABLE(pci, riddle_ids);

static struct pci_driver riddle_driver = { .name = "pciriddle", .id_table = riddle_ids, .probe = riddle_probe };

/* The other way: no PCI driver, but a platform device, whose driver looks for the card. Loading never fails. */
static int board_probe(struct platform_device *board)
{
	struct pci_dev *pdev = NULL;

	for_each_pci_dev(pdev)
		if (pci_match_id(riddle_ids, pdev))
			return pci_enable_device(pdev) ?: solve(pdev);
	return -ENODEV;
}

static struct platform_driver board_driver = { .driver = { .name = "pciriddle" }, .probe = board_probe };
static struct platform_device *board;

static bool apart;
module_param(apart, bool, 0444);
MODULE_PARM_DESC(apart, "look for the device in the probe function of a platform device");

static int __init riddle_init(void)
{
	int err;

	if (!apart)
		return pci_register_driver(&riddle_driver);
	err = platform_driver_register(&board_driver);
	if (err)
		return err;
	board = platform_device_register_simple("pciriddle", -1, NULL, 0);
	return PTR_ERR_OR_ZERO(board);
}

static void __exit riddle_exit(void)
{
	if (apart) {
		platform_device_unregister(board);
		platform_driver_unregister(&board_driver);
	} else {
		pci_unregister_driver(&riddle_driver);
	}
}

module_init(riddle_init);
module_exit(riddle_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Riddles for phantoms: what the device must have");
