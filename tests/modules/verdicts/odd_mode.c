// SPDX-License-Identifier: GPL-2.0
// A parameter whose permissions the kernel does not take.
#include <linux/module.h>

static bool odd;
module_param(odd, bool, 1);

static int __init odd_init(void) { return 0; }
static void __exit odd_exit(void) { }
module_init(odd_init);
module_exit(odd_exit);
MODULE_LICENSE("GPL");
