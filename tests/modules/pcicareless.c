// SPDX-License-Identifier: GPL-2.0
/*
 * A driver of a card as QEMU's "edu" is one: an identification, a length, an index, a ring in memory, interrupts. With `careless` it
 * makes one mistake; without, it makes none, whatever the card says. For tests/checks/phantom/test_hostile.py.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/timer.h>

/* Other names since 6.15 and 6.16. */
#ifndef from_timer
#define from_timer timer_container_of
#define del_timer_sync timer_delete_sync
#endif

static char *careless = "";
module_param(careless, charp, 0444);
MODULE_PARM_DESC(careless, "which mistake is made");

#define IDENTIFICATION 0x010000ed
#define ENTRIES 16

struct card {
	struct pci_dev *pdev;
	void __iomem *regs;
	struct timer_list timer;
	u32 *ring, *table, seen;
	dma_addr_t bus;
	bool irq;
};

static bool makes(const char *mistake)
{
	return !strcmp(careless, mistake);
}

/* The card says how long its name is. */
static int read_name(struct card *card)
{
	u32 length = readl(card->regs + 0x10), n;
	u8 *name;

	if (!makes("length"))
		length = min_t(u32, length, 32);
	name = kzalloc(32, GFP_KERNEL);
	if (!name)
		return -ENOMEM;
	for (n = 0; n < length && n < 4096; n++)
		name[n] = readb(card->regs + 0x100);
	kfree(name);
	return 0;
}

/* The card says which entry is its own. */
static int choose_entry(struct card *card)
{
	u32 entry = readl(card->regs + 0x14);

	if (!makes("index") && entry >= ENTRIES)
		return -EIO;
	card->seen = card->table[entry];
	return 0;
}

/* The card says how far a number is to be shifted. */
static int scale(struct card *card)
{
	u32 bits = readl(card->regs + 0x18);

	if (!makes("shift"))
		bits &= 31;
	card->seen = 1u << bits;
	return 0;
}

static irqreturn_t handler(int irq, void *data)
{
	struct card *card = data;
	u32 head = READ_ONCE(card->ring[0]);

	if (!makes("ring"))
		head %= ENTRIES;
	card->table[head] += 1;
	return IRQ_HANDLED;
}

static void tick(struct timer_list *timer)
{
	struct card *card = container_of(timer, struct card, timer);

	card->seen += card->table[0];
	mod_timer(&card->timer, jiffies + HZ / 100);
}

static int card_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct card *card;
	int err = -ENODEV;

	if (pcim_enable_device(pdev))
		return -ENODEV;
	pci_set_master(pdev);
	card = kzalloc(sizeof(*card), GFP_KERNEL);
	if (!card)
		return -ENOMEM;
	card->pdev = pdev;
	card->regs = pcim_iomap(pdev, 0, 0);
	if (!card->regs || readl(card->regs) != IDENTIFICATION)
		goto free_card;
	err = -ENOMEM;
	card->table = kcalloc(ENTRIES, sizeof(*card->table), GFP_KERNEL);
	if (!card->table) {
		if (makes("probe"))
			kfree(card);
		goto free_card;
	}
	card->ring = dma_alloc_coherent(&pdev->dev, 4096, &card->bus, GFP_KERNEL);
	if (!card->ring)
		goto free_table;
	err = read_name(card);
	if (!err)
		err = choose_entry(card);
	if (!err)
		err = scale(card);
	if (err)
		goto free_ring;
	err = request_irq(pdev->irq, handler, IRQF_SHARED, "pcicareless", card);
	if (err)
		goto free_ring;
	timer_setup(&card->timer, tick, 0);
	mod_timer(&card->timer, jiffies + HZ / 100);
	pci_set_drvdata(pdev, card);
	return 0;

free_ring:
	dma_free_coherent(&pdev->dev, 4096, card->ring, card->bus);
free_table:
	kfree(card->table);
free_card:
	kfree(card);
	return err;
}

static void card_remove(struct pci_dev *pdev)
{
	struct card *card = pci_get_drvdata(pdev);
	bool gone = readl(card->regs) == ~0u;

	free_irq(pdev->irq, card);
	if (!makes("removal") || !gone)
		timer_delete_sync(&card->timer);
	dma_free_coherent(&pdev->dev, 4096, card->ring, card->bus);
	kfree(card->table);
	kfree(card);
}

static const struct pci_device_id card_ids[] = { { PCI_DEVICE(0x1234, 0x11eb) }, {} };
MODULE_DEVICE_TABLE(pci, card_ids);

static struct pci_driver card_driver = {
	.name = "pcicareless",
	.id_table = card_ids,
	.probe = card_probe,
	.remove = card_remove,
};
module_pci_driver(card_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver that believes its device");
