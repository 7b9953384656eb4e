// SPDX-License-Identifier: GPL-2.0
/*
 * A driver whose probe function wants an answer to one riddle, chosen by a parameter. Each is a way in which compiled code gets
 * from what a device says to a decision. For tests/checks/phantom/test_search.py.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/firmware.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/iopoll.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

static char *riddle = "number";
module_param(riddle, charp, 0444);
MODULE_PARM_DESC(riddle, "which riddle is to be solved");

struct puzzle {
	struct pci_dev *pdev;
	void __iomem *regs;
	struct completion done;
	u32 kept, words[16];
	u8 *shared;
	dma_addr_t bus;
};

static noinline u32 reg(struct puzzle *p, unsigned int at)
{
	return ioread32(p->regs + at);
}

static noinline int fetch(struct puzzle *p, unsigned int at, u32 *value)
{
	*value = readl(p->regs + at);
	return 0;
}

static noinline bool has(struct puzzle *p, u32 bit)
{
	return !!(reg(p, 0) & bit);
}

static irqreturn_t handler(int irq, void *data)
{
	struct puzzle *p = data;

	if (!(readl(p->regs + 0x10) & 0x8))
		return IRQ_NONE;
	complete(&p->done);
	return IRQ_HANDLED;
}

static int number(struct puzzle *p) { return reg(p, 0) == 0xc0ffee01; }
static int field(struct puzzle *p) { return (reg(p, 0) >> 12 & 0x3f) == 0x2a; }
static int byte(struct puzzle *p) { return readb(p->regs + 5) == 0x5a; }
static int word(struct puzzle *p) { return readw(p->regs + 6) == 0x1234; }
static int swapped(struct puzzle *p) { return be32_to_cpu((__force __be32)readl(p->regs)) == 0x01020304; }
static int inverted(struct puzzle *p) { return ~reg(p, 0) == 0x12345678; }
static int sum(struct puzzle *p) { return (u16)(reg(p, 0) + reg(p, 4) + reg(p, 8)) == 0xbaba; }
static int mixed(struct puzzle *p) { return (reg(p, 0) ^ 0x5555) + 7 == 0x1000; }
static int halves(struct puzzle *p) { return (reg(p, 0) << 16 | (reg(p, 4) & 0xffff)) == 0xdeadbeef; }
static int signs(struct puzzle *p) { return (s8)readb(p->regs) < -100 && (s32)readl(p->regs + 4) > 70000; }
static int range(struct puzzle *p) { u32 n = reg(p, 0); return n > 0x200 && n <= 0x210; }
static int result(struct puzzle *p) { return has(p, 0x400) && !has(p, 0x100); }
static int product(struct puzzle *p) { return reg(p, 0) * 24 == 240; }

static int pointer(struct puzzle *p)
{
	u32 value;

	return !fetch(p, 0xc, &value) && value == 0x600df00d;
}

static int memory(struct puzzle *p)
{
	p->kept = reg(p, 0);
	msleep(20);
	return p->kept == 0x11223344;
}

static int switched(struct puzzle *p)
{
	switch (reg(p, 0)) {
	case 0x10: case 0x11: return reg(p, 4) == 3;
	case 0x900: return reg(p, 4) == 0x77;
	case 0x4242: return reg(p, 4) == 4;
	}
	return 0;
}

static int waits(struct puzzle *p)
{
	u32 value;

	writel(1, p->regs);
	if (readl_poll_timeout(p->regs, value, !(value & 1), 10, 5000))
		return 0;
	return !readl_poll_timeout_atomic(p->regs + 4, value, (value & 0xc0) == 0x80, 10, 5000);
}

static int twice(struct puzzle *p)
{
	return reg(p, 0) == 0x1111 && reg(p, 0) == 0x2222 && reg(p, 0) == 0x3333;
}

/* An EEPROM behind one register: its words are to have a sum. */
static int checksum(struct puzzle *p)
{
	u16 total = 0;
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(p->words); n++) {
		writel(n << 8 | 1, p->regs + 0x14);
		p->words[n] = readl(p->regs + 0x14) >> 16;
	}
	for (n = 0; n < ARRAY_SIZE(p->words); n++)
		total += p->words[n];
	return total == 0xbaba;
}

static int block(struct puzzle *p)
{
	u8 buffer[32];

	memcpy_fromio(buffer, p->regs + 0x40, sizeof(buffer));
	return buffer[3] == 0x7e && buffer[17] == 0x81;
}

static int configuration(struct puzzle *p)
{
	u16 value;
	u8 byte;

	pci_read_config_word(p->pdev, 0x52, &value);
	pci_read_config_byte(p->pdev, 0x60, &byte);
	return (value & 0xff00) == 0xab00 && byte & 4;
}

static int ring(struct puzzle *p)
{
	int tries;

	p->shared = dma_alloc_coherent(&p->pdev->dev, 4096, &p->bus, GFP_KERNEL);
	if (!p->shared)
		return 0;
	writel(p->bus, p->regs + 0x20);
	for (tries = 0; tries < 100 && READ_ONCE(p->shared[64]) != 0x99; tries++)
		udelay(10);
	dma_free_coherent(&p->pdev->dev, 4096, p->shared, p->bus);
	return tries < 100;
}

/* A bus of its own behind two registers: one waits until it is ready, and until the chip there has finished its reset. */
static u32 chip_read(struct puzzle *p, unsigned int chip)
{
	int tries = 1000;
	u32 value;

	do {
		value = reg(p, 0x100 + 4 * chip);
	} while ((value & 0xc0000000) != 0x80000000 && --tries);
	return value & 0xffff;
}

static int nested(struct puzzle *p)
{
	unsigned int chip;
	int tries;

	for (chip = 0; chip < 16; chip++) {
		writel(0x8000, p->regs + 0x100 + 4 * chip);
		for (tries = 1000; tries; tries--)
			if (!(chip_read(p, chip) & 0x8000))
				break;
		if (!tries)
			return 0;
	}
	return 1;
}

/* Time as the device counts it. */
static int ticks(struct puzzle *p)
{
	u32 start = reg(p, 0x30) & 0xffff, now = start;
	int tries;

	for (tries = 1000; tries && now - start < 300; tries--)
		now = reg(p, 0x30) & 0xffff;
	return tries > 0 && now - start < 1000;
}

/* A mailbox: the answer is there when the first word says the command's number, with a flag. */
static int mailbox(struct puzzle *p)
{
	u32 number;
	int tries;

	p->shared = dma_alloc_coherent(&p->pdev->dev, 4096, &p->bus, GFP_KERNEL);
	if (!p->shared)
		return 0;
	for (number = 1; number < 6; number++) {
		writel(number, p->regs + 0x20);
		for (tries = 1000; tries && (*(volatile u32 *)p->shared & 0x800000ff) != (0x80000000 | number); tries--)
			cpu_relax();
		if (!tries)
			break;
	}
	dma_free_coherent(&p->pdev->dev, 4096, p->shared, p->bus);
	return number == 6;
}

/* Memory that is the device's for as long as it is mapped. */
static int streaming(struct puzzle *p)
{
	u8 *buffer = kzalloc(256, GFP_KERNEL);
	dma_addr_t bus = buffer ? dma_map_single(&p->pdev->dev, buffer, 256, DMA_FROM_DEVICE) : DMA_MAPPING_ERROR;
	int good;

	if (dma_mapping_error(&p->pdev->dev, bus)) {
		kfree(buffer);
		return 0;
	}
	writel(bus, p->regs + 0x20);
	dma_unmap_single(&p->pdev->dev, bus, 256, DMA_FROM_DEVICE);
	good = READ_ONCE(buffer[17]) == 0x4b && READ_ONCE(buffer[18]) == 0x5d;
	kfree(buffer);
	return good;
}

static int revision(struct puzzle *p) { return p->pdev->revision >= 8 && p->pdev->revision < 12; }
static int header(struct puzzle *p)
{
	u16 value;

	pci_read_config_word(p->pdev, PCI_CLASS_REVISION, &value);
	return (value & 0xff) == 0x65;
}

static int subsystem(struct puzzle *p) { return p->pdev->subsystem_vendor == 0x1af4 && p->pdev->subsystem_device == 0x77; }
static int kind(struct puzzle *p) { return p->pdev->class >> 8 == PCI_CLASS_MEMORY_FLASH; }
static int size(struct puzzle *p) { return pci_resource_len(p->pdev, 0) == 0x2000; }
static int port(struct puzzle *p) { return pci_resource_flags(p->pdev, 1) & IORESOURCE_IO ? 1 : 0; }

static int companion(struct puzzle *p)
{
	struct pci_dev *other = pci_get_device(0x1234, 0x9999, NULL);
	u8 value = 0;

	if (!other)
		return 0;
	pci_read_config_byte(p->pdev, 0x4c, &value);
	pci_dev_put(other);
	return value == 0x42;
}

static int file(struct puzzle *p)
{
	const struct firmware *fw;
	int good;

	if (request_firmware(&fw, "kobox/puzzle.bin", &p->pdev->dev))
		return 0;
	good = fw->size == 300 && fw->data[0] == 0x7f && fw->data[17] > 0xf0;
	release_firmware(fw);
	return good;
}

static int interrupt(struct puzzle *p)
{
	bool done;

	init_completion(&p->done);
	if (request_irq(p->pdev->irq, handler, IRQF_SHARED, "pcipuzzle", p))
		return 0;
	done = wait_for_completion_timeout(&p->done, HZ);
	free_irq(p->pdev->irq, p);
	return done;
}

static const struct { const char *name; int (*solved)(struct puzzle *p); } riddles[] = {
#define RIDDLE(name) { #name, name }
	RIDDLE(number), RIDDLE(field), RIDDLE(byte), RIDDLE(word), RIDDLE(swapped), RIDDLE(inverted), RIDDLE(sum),
	RIDDLE(mixed), RIDDLE(halves), RIDDLE(signs), RIDDLE(range), RIDDLE(result), RIDDLE(product), RIDDLE(pointer),
	RIDDLE(memory), RIDDLE(switched), RIDDLE(waits), RIDDLE(twice), RIDDLE(checksum), RIDDLE(block),
	RIDDLE(configuration), RIDDLE(ring), RIDDLE(interrupt), RIDDLE(nested), RIDDLE(ticks), RIDDLE(mailbox), RIDDLE(streaming),
	RIDDLE(revision), RIDDLE(subsystem), RIDDLE(kind), RIDDLE(size), RIDDLE(port), RIDDLE(file), RIDDLE(companion), RIDDLE(header),
};

static int puzzle_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct puzzle *p = devm_kzalloc(&pdev->dev, sizeof(*p), GFP_KERNEL);
	unsigned int n;

	if (!p || pcim_enable_device(pdev))
		return -ENOMEM;
	pci_set_master(pdev);
	p->pdev = pdev;
	p->regs = pcim_iomap(pdev, 0, 0);
	if (!p->regs)
		return -ENOMEM;
	for (n = 0; n < ARRAY_SIZE(riddles); n++)
		if (!strcmp(riddle, riddles[n].name))
			return riddles[n].solved(p) ? 0 : -ENODEV;
	return -EINVAL;
}

static const struct pci_device_id puzzle_ids[] = { { PCI_DEVICE(0x1234, 0x11ea) }, {} };
MODULE_DEVICE_TABLE(pci, puzzle_ids);

static struct pci_driver puzzle_driver = { .name = "pcipuzzle", .id_table = puzzle_ids, .probe = puzzle_probe };

/* With `early`, the device is looked for while the module is loaded, as drivers did before there were tables. */
static bool early;
module_param(early, bool, 0444);
MODULE_PARM_DESC(early, "look for the device while the module is loaded");

static int __init puzzle_init(void)
{
	struct pci_dev *pdev = early ? pci_get_device(0x1234, 0x11ea, NULL) : NULL;
	u32 value;

	if (!early)
		return pci_register_driver(&puzzle_driver);
	if (!pdev)
		return -ENODEV;
	pci_read_config_dword(pdev, 0x44, &value);
	pci_dev_put(pdev);
	return value == 0xfeed ? 0 : -ENODEV;
}

static void __exit puzzle_exit(void)
{
	if (!early)
		pci_unregister_driver(&puzzle_driver);
}

module_init(puzzle_init);
module_exit(puzzle_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver whose probe function wants an answer to a riddle");
