// SPDX-License-Identifier: GPL-2.0
/* kind: rules of an interface */
#include "seeded.h"
#include <linux/dma-mapping.h>

struct desc { __le64 a; __le32 n, f; };
static struct desc *ring;
static dma_addr_t at;
static int entries = 128;
static int probe(struct platform_device *p)
{
	int err = dma_set_mask_and_coherent(&p->dev, DMA_BIT_MASK(64));

	if (err)
		return err;
	ring = dma_alloc_coherent(&p->dev, entries * sizeof(*ring), &at, GFP_KERNEL); /* BUG */
	return ring ? 0 : -ENOMEM;
}
static void give(struct platform_device *p)
{
#ifdef FIXED
	dma_free_coherent(&p->dev, entries * sizeof(*ring), ring, at);
#else
	dma_free_coherent(&p->dev, entries, ring, at); /* BUG */
#endif
}
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
static void rem(struct platform_device *p) { give(p); }
#else
static int rem(struct platform_device *p) { give(p); return 0; }
#endif
static struct platform_driver drv = { .probe = probe, .remove = rem, .driver = { .name = "ring_coherent" } };
static struct platform_device *pd;
static int __init m_init(void)
{
	int err = platform_driver_register(&drv);
	if (err)
		return err;
	pd = platform_device_register_simple("ring_coherent", -1, NULL, 0);
	if (IS_ERR(pd)) {
		platform_driver_unregister(&drv);
		return PTR_ERR(pd);
	}
	return 0;
}
static void __exit m_exit(void) { platform_device_unregister(pd); platform_driver_unregister(&drv); }
module_init(m_init);
module_exit(m_exit);
