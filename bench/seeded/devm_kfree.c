// SPDX-License-Identifier: GPL-2.0
/* kind: freed wrongly */
#include "seeded.h"

static struct platform_device *pd;
static int pr(struct platform_device *d)
{
	void *p = devm_kzalloc(&d->dev, 64, GFP_KERNEL);
	if (!p)
		return -ENOMEM;
	platform_set_drvdata(d, p);
	return 0;
}
static int rm(struct platform_device *d)
{
#ifndef FIXED
	kfree(platform_get_drvdata(d)); /* BUG */
#endif
	return 0;
}
static struct platform_driver drv = { .probe = pr, .remove = (void *)rm, .driver = { .name = "devmk" } };
static int __init m_init(void)
{
	int err = platform_driver_register(&drv);
	if (err)
		return err;
	pd = platform_device_register_simple("devmk", -1, NULL, 0);
	if (IS_ERR(pd)) {
		platform_driver_unregister(&drv);
		return PTR_ERR(pd);
	}
	return 0;
}
static void __exit m_exit(void) { platform_device_unregister(pd); platform_driver_unregister(&drv); }
module_init(m_init); module_exit(m_exit);
