// SPDX-License-Identifier: GPL-2.0
/* kind: left behind */
#include "seeded.h"
#include <linux/dmapool.h>
#include <linux/dma-mapping.h>

static struct dma_pool *pool;
static int probe(struct platform_device *p)
{
	dma_addr_t at;
	void *d;
	int err = dma_set_mask_and_coherent(&p->dev, DMA_BIT_MASK(32));

	if (err)
		return err;
	pool = dma_pool_create("cmds", &p->dev, 64, 64, 0);
	if (!pool)
		return -ENOMEM;
	d = dma_pool_alloc(pool, GFP_KERNEL, &at); /* BUG */
	if (!d) {
		dma_pool_destroy(pool);
		return -ENOMEM;
	}
	memset(d, 0, 64);
#ifdef FIXED
	dma_pool_free(pool, d, at);
#endif
	return 0;
}
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
static void rem(struct platform_device *p) { dma_pool_destroy(pool); }
#else
static int rem(struct platform_device *p) { dma_pool_destroy(pool); return 0; }
#endif
static struct platform_driver drv = { .probe = probe, .remove = rem, .driver = { .name = "pool_dma" } };
static struct platform_device *pd;
static int __init m_init(void)
{
	int err = platform_driver_register(&drv);
	if (err)
		return err;
	pd = platform_device_register_simple("pool_dma", -1, NULL, 0);
	if (IS_ERR(pd)) {
		platform_driver_unregister(&drv);
		return PTR_ERR(pd);
	}
	return 0;
}
static void __exit m_exit(void) { platform_device_unregister(pd); platform_driver_unregister(&drv); }
module_init(m_init);
module_exit(m_exit);
