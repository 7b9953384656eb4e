// SPDX-License-Identifier: GPL-2.0-or-later
/* What a module hands to the kernel, to devices and to user space: one mistake for each value of `what`, at a write to
 * /dev/handed or when it is mapped; with right=1 the same without the mistake. */
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/sysctl.h>
#include <linux/version.h>

static char what[16] = "";
module_param_string(what, what, sizeof(what), 0444);
static bool right;
module_param(right, bool, 0444);

static struct platform_device *platform;
static void *shown;
static DEFINE_PER_CPU(int, counter);
int handed_hits[NR_CPUS];
EXPORT_SYMBOL(handed_hits);

static void do_order(size_t n)
{
	unsigned long pages = __get_free_pages(GFP_KERNEL, 2);

	if (pages)
		free_pages(pages, right ? 2 : 1); /* order: bad */
}

static void map(size_t length, size_t given_back, int direction)
{
	void *buffer = kzalloc(128, GFP_KERNEL);
	dma_addr_t address;

	if (!buffer)
		return;
	address = dma_map_single(&platform->dev, buffer, length, DMA_TO_DEVICE); /* length: bad */
	if (!dma_mapping_error(&platform->dev, address))
		dma_unmap_single(&platform->dev, address, given_back, direction); /* size: bad */ /* direction: bad */
	kfree(buffer);
}

static void do_length(size_t n) { map(right ? 128 : 200, right ? 128 : 200, DMA_TO_DEVICE); }
static void do_size(size_t n) { map(128, right ? 128 : 64, DMA_TO_DEVICE); }
static void do_direction(size_t n) { map(128, 128, right ? DMA_TO_DEVICE : DMA_FROM_DEVICE); }

static void do_coherent(size_t n)
{
	dma_addr_t address;
	void *memory = dma_alloc_coherent(&platform->dev, 8192, &address, GFP_KERNEL);

	if (memory)
		dma_free_coherent(&platform->dev, right ? 8192 : 4096, memory, address); /* coherent: bad */
}

static void do_processor(size_t n)
{
	if (right) {
		n += raw_smp_processor_id();
		handed_hits[get_cpu()] += n;
		put_cpu();
	} else {
		handed_hits[smp_processor_id()]++; /* processor: bad */
	}
}

static void do_percpu(size_t n)
{
	if (right) {
		(*get_cpu_ptr(&counter))++;
		put_cpu_ptr(&counter);
		this_cpu_inc(counter);
	} else {
		(*this_cpu_ptr(&counter))++; /* percpu: bad */
	}
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
#define register_sysctl_sz(path, table, size) register_sysctl(path, table)
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
#define END { }
#else
#define END
#endif

static u8 level;
static struct ctl_table wrong_table[] = {
	{ .procname = "handed", .data = &level, .maxlen = sizeof(int), .mode = 0644, .proc_handler = proc_dointvec },
	END
};
static struct ctl_table right_table[] = {
	{ .procname = "handed", .data = &level, .maxlen = sizeof(u8), .mode = 0644, .proc_handler = proc_dou8vec_minmax },
	END
};

static void do_sysctl(size_t n)
{
	struct ctl_table_header *header;

	if (right)
		header = register_sysctl_sz("dev", right_table, 1);
	else
		header = register_sysctl_sz("dev", wrong_table, 1); /* sysctl: bad */
	if (header)
		unregister_sysctl_table(header);
}

#define ROW(name) { #name, do_##name }
static const struct {
	const char *name;
	void (*function)(size_t n);
} rows[] = {
	ROW(order), ROW(length), ROW(size), ROW(direction), ROW(coherent), ROW(processor), ROW(percpu), ROW(sysctl),
};

static ssize_t handed_write(struct file *file, const char __user *from, size_t n, loff_t *position)
{
	int row;

	for (row = 0; row < ARRAY_SIZE(rows); row++)
		if (!strcmp(rows[row].name, what))
			rows[row].function(n);
	return n;
}

static int handed_mmap(struct file *file, struct vm_area_struct *area)
{
	unsigned long pfn = virt_to_phys(shown) >> PAGE_SHIFT, length = area->vm_end - area->vm_start;

	if (right && (area->vm_pgoff > 1 || length > (2 - area->vm_pgoff) * PAGE_SIZE))
		return -EINVAL;
	return remap_pfn_range(area, area->vm_start, pfn + area->vm_pgoff, length, area->vm_page_prot); /* mmap: bad */
}

static const struct file_operations operations = {
	.owner = THIS_MODULE, .write = handed_write, .mmap = handed_mmap,
};
static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = "handed", .fops = &operations };

static int __init handed_init(void)
{
	int error = -ENOMEM;

	shown = (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, 1);
	if (!shown)
		return error;
	platform = platform_device_register_simple("handed", -1, NULL, 0);
	if (IS_ERR(platform)) {
		error = PTR_ERR(platform);
		goto no_platform;
	}
	error = dma_coerce_mask_and_coherent(&platform->dev, DMA_BIT_MASK(64));
	if (!error)
		error = misc_register(&device);
	if (!error)
		return 0;
	platform_device_unregister(platform);
no_platform:
	free_pages((unsigned long)shown, 1);
	return error;
}

static void __exit handed_exit(void)
{
	misc_deregister(&device);
	platform_device_unregister(platform);
	free_pages((unsigned long)shown, 1);
}

module_init(handed_init);
module_exit(handed_exit);
MODULE_DESCRIPTION("mistakes with what is handed out, one by one");
MODULE_LICENSE("GPL");
