// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

static struct input_dev *in;
static u8 *level;
static int ev(struct input_dev *d, unsigned int type, unsigned int code, int value)
{
	if (type != EV_LED)
		return -1;
	level[code] = value; /* BUG */
	return 0;
}
static int __init m_init(void)
{
	int err = -ENOMEM, i;
	level = kzalloc(4, GFP_KERNEL);
	in = input_allocate_device();
	if (!in || !level)
		goto bad;
	in->name = "blinky";
	in->event = ev;
#ifndef FIXED
	for (i = 0; i < 11; i++)
#else
	for (i = 0; i < 4; i++)
#endif
		input_set_capability(in, EV_LED, i);
	err = input_register_device(in);
	if (!err)
		return 0;
bad:
	input_free_device(in);
	kfree(level);
	return err;
}
static void __exit m_exit(void) { input_unregister_device(in); kfree(level); }
module_init(m_init); module_exit(m_exit);
