// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"

static void rel(struct device *d) { kfree(d); }
static struct device *dv;
static int __init m_init(void)
{
	int err;
	dv = kzalloc(sizeof(*dv), GFP_KERNEL);
	if (!dv)
		return -ENOMEM;
	device_initialize(dv);
	dv->release = rel;
	err = dev_set_name(dv, "failput%d", 7); /* BUG */
	if (!err)
		err = device_add(dv); /* BUG */
	if (err)
#ifndef FIXED
		kfree(dv); /* BUG */
#else
		put_device(dv);
#endif
	return err;
}
static void __exit m_exit(void) { device_unregister(dv); }
module_init(m_init); module_exit(m_exit);
