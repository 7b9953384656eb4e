// SPDX-License-Identifier: GPL-2.0
/* kind: left behind */
#include "seeded.h"
#include <linux/leds.h>

static void set(struct led_classdev *l, enum led_brightness b) { }
static struct led_classdev led = { .name = "seeded::led", .brightness_set = set };
static int __init m_init(void) { return led_classdev_register(NULL, &led); /* BUG */ }
static void __exit m_exit(void)
{
#ifdef FIXED
	led_classdev_unregister(&led);
#endif
}
module_init(m_init);
module_exit(m_exit);
