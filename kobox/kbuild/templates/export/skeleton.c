// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: exports two functions to other modules; skeleton_user uses them.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/module.h>
#include <linux/version.h>

#include "skeleton.h"

static atomic_t calls = ATOMIC_INIT(0);

int skeleton_add(int a, int b)
{
	atomic_inc(&calls);
	return a + b;
}
EXPORT_SYMBOL(skeleton_add);

int skeleton_calls(void)
{
	return atomic_read(&calls);
}
/*
 * GPL-only, and in a namespace: who does not import it gets a warning when
 * built and is refused when loaded. The namespace became a string in 6.13.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
EXPORT_SYMBOL_NS_GPL(skeleton_calls, "SKELETON");
#else
EXPORT_SYMBOL_NS_GPL(skeleton_calls, SKELETON);
#endif

/* A module that only exports needs neither init nor exit to be unloadable. */

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Exports functions to other modules");
