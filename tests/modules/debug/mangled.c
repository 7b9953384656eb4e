// SPDX-License-Identifier: GPL-2.0-or-later
/* A function with a name as rustc writes it. */
#include <linux/module.h>

/* rust_bad::third */
noinline int _RNvCshfMI71CQuHV_8rust_bad5third(int number);
noinline int _RNvCshfMI71CQuHV_8rust_bad5third(int number)
{
	pr_info("third of %d\n", number);
	return number;
}

static int __init mangled_init(void)
{
	return _RNvCshfMI71CQuHV_8rust_bad5third(3) == 3 ? 0 : -EINVAL;
}

static void __exit mangled_exit(void)
{
}

module_init(mangled_init);
module_exit(mangled_exit);
MODULE_LICENSE("GPL");
