// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"
#include <linux/dma-mapping.h>

static void *buf;
static int probe(struct platform_device *p)
{
	dma_addr_t at;
	int err = dma_set_mask_and_coherent(&p->dev, DMA_BIT_MASK(64));

	if (err)
		return err;
	buf = kzalloc(256, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	at = dma_map_single(&p->dev, buf, 256, DMA_TO_DEVICE); /* BUG */
	if (dma_mapping_error(&p->dev, at)) {
		kfree(buf);
		return -EIO;
	}
#ifdef FIXED
	dma_unmap_single(&p->dev, at, 256, DMA_TO_DEVICE);
#else
	dma_unmap_single(&p->dev, at, 256, DMA_BIDIRECTIONAL); /* BUG */
#endif
	return 0;
}
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
static void rem(struct platform_device *p) { kfree(buf); }
#else
static int rem(struct platform_device *p) { kfree(buf); return 0; }
#endif
static struct platform_driver drv = { .probe = probe, .remove = rem, .driver = { .name = "map_direction" } };
static struct platform_device *pd;
static int __init m_init(void)
{
	int err = platform_driver_register(&drv);
	if (err)
		return err;
	pd = platform_device_register_simple("map_direction", -1, NULL, 0);
	if (IS_ERR(pd)) {
		platform_driver_unregister(&drv);
		return PTR_ERR(pd);
	}
	return 0;
}
static void __exit m_exit(void) { platform_device_unregister(pd); platform_driver_unregister(&drv); }
module_init(m_init);
module_exit(m_exit);
