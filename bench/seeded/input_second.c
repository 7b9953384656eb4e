// SPDX-License-Identifier: GPL-2.0
/* kind: left behind */
#include "seeded.h"

static struct input_dev *a, *b;
static struct input_dev *make(const char *name)
{
	struct input_dev *d = input_allocate_device();
	if (!d)
		return NULL;
	d->name = name;
	input_set_capability(d, EV_KEY, KEY_A);
	if (input_register_device(d)) { /* BUG */
		input_free_device(d);
		return NULL;
	}
	return d;
}
static int __init m_init(void)
{
	a = make("seeded a"); /* BUG */
	if (!a)
		return -ENOMEM;
	b = make("seeded b");
	if (!b) {
#ifdef FIXED
		input_unregister_device(a);
#endif
		return -ENOMEM;
	}
	return 0;
}
static void __exit m_exit(void) { input_unregister_device(b); input_unregister_device(a); }
module_init(m_init);
module_exit(m_exit);
