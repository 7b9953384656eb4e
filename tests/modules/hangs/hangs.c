// SPDX-License-Identifier: GPL-2.0
/* Code that would keep an emulator for ever: each by another path than executing blocks. `what` chooses. */
#include <linux/hrtimer.h>
#include <linux/io.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

static char *what = "";
module_param(what, charp, 0444);

static void __iomem *lapic;

static void lapic_timer(unsigned int mode, unsigned int count, unsigned int priority)
{
	local_irq_disable();
	writel(0x1ff, lapic + 0xf0);
	writel(0xb, lapic + 0x3e0);
	writel(mode | 0x40, lapic + 0x320);
	writel(priority, lapic + 0x80);
	writel(count, lapic + 0x380);
}

static void five_levels(void)
{
	unsigned long cr4;

	asm volatile("mov %%cr4, %0; or $0x1000, %0; mov %0, %%cr4" : "=r"(cr4));
	asm volatile("ud2");
}

/* An IDT of nothing but a gate to an address where no code is. */
static void faulting_handlers(void)
{
	struct { u16 limit; u64 base; } __packed idtr;
	u64 *idt = (void *)__get_free_page(GFP_KERNEL);
	u64 target = 0xffffc00000001000;
	int n;

	for (n = 0; n < 256; n++) {
		idt[2 * n] = (target & 0xffff) | 0x10ull << 16 | 0x8e00ull << 32 | (target >> 16 & 0xffff) << 48;
		idt[2 * n + 1] = target >> 32;
	}
	idtr.limit = 4095;
	idtr.base = (u64)idt;
	asm volatile("lidt %0; ud2" : : "m"(idtr));
}

static void device_registers(void)
{
	void __iomem *device = ioremap(0xfea00000, 4096);

	for (;;)
		readl(device);
}

static unsigned long lookup(const char *name)
{
	struct kprobe probe = { .symbol_name = name };
	unsigned long at;

	if (register_kprobe(&probe) < 0)
		return 0;
	at = (unsigned long)probe.addr;
	unregister_kprobe(&probe);
	return at;
}

/* One page, everywhere in a stretch of 512 GiB. */
static char *wide(void)
{
	unsigned long *pointers = (void *)get_zeroed_page(GFP_KERNEL), *directory = (void *)get_zeroed_page(GFP_KERNEL);
	unsigned long *table = (void *)get_zeroed_page(GFP_KERNEL), *page = (void *)get_zeroed_page(GFP_KERNEL);
	unsigned long *top = __va(read_cr3_pa());
	int n, slot = 300;

	for (n = 0; n < 512; n++) {
		pointers[n] = __pa(directory) | 0x63;
		directory[n] = __pa(table) | 0x63;
		table[n] = __pa(page) | 0x63;
	}
	while (slot < 500 && top[slot])
		slot++;
	top[slot] = __pa(pointers) | 0x63;
	return (char *)(0xffff000000000000ul | (unsigned long)slot << 39);
}

/* From now on each read returns as many bytes as were asked for, and no file ends. */
static long endless_read(unsigned int fd, char __user *buffer, size_t count)
{
	return count;
}

static void replace(const char *name, void *by)
{
	unsigned char *at = (void *)lookup(name), jump[12] = { 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0 };
	unsigned long cr0;

	memcpy(jump + 2, &by, 8);
	asm volatile("mov %%cr0, %0" : "=r"(cr0));
	asm volatile("mov %0, %%cr0" : : "r"(cr0 & ~0x10000ul));
	if (at)
		memcpy(at, jump, 12);
	asm volatile("mov %0, %%cr0" : : "r"(cr0));
}

static struct hrtimer timer;

/* It is due again at once: nothing has moved it forward. */
static enum hrtimer_restart again(struct hrtimer *due)
{
	return HRTIMER_RESTART;
}

static int __init hangs_init(void)
{
	if (!strcmp(what, "timer again")) {
		hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
		timer.function = again;
		hrtimer_start(&timer, ms_to_ktime(1), HRTIMER_MODE_REL);
		return 0;
	}
	lapic = ioremap(0xfee00000, 4096);
	if (!strcmp(what, "masked timer")) {
		lapic_timer(0x20000, 1, 0xff);
		for (;;)
			asm volatile("sti; hlt");
	}
	if (!strcmp(what, "fast timer")) {
		lapic_timer(0x20000, 1, 0);
		for (;;)
			asm volatile("sti; hlt");
	}
	if (!strcmp(what, "five levels"))
		five_levels();
	if (!strcmp(what, "faulting handlers"))
		faulting_handlers();
	if (!strcmp(what, "device registers"))
		device_registers();
	if (!strcmp(what, "log"))
		for (;;)
			pr_info("hangs: again\n");
	if (!strcmp(what, "wide memset"))
		for (;;)
			memset(wide(), 0x6b, 1ul << 37);
	if (!strcmp(what, "wide search"))
		for (;;)
			memchr(memset(wide(), 0x6b, 4096), 1, 1ul << 37);
	if (!strcmp(what, "endless reads"))
		replace("ksys_read", endless_read);
	return 0;
}

static void __exit hangs_exit(void)
{
}

module_init(hangs_init);
module_exit(hangs_exit);
MODULE_DESCRIPTION("Ways to keep an emulator");
MODULE_LICENSE("GPL");
