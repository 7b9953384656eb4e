// SPDX-License-Identifier: GPL-2.0-or-later
/* Its init goes round for as long as it is told to. */
#include <linux/jiffies.h>
#include <linux/module.h>

static unsigned int spin;
module_param(spin, uint, 0444);
MODULE_PARM_DESC(spin, "milliseconds of init");

static int __init spinner_init(void)
{
	unsigned long end = jiffies + msecs_to_jiffies(spin);

	while (time_before(jiffies, end))
		cpu_relax();
	return 0;
}

static void __exit spinner_exit(void)
{
}

module_init(spinner_init);
module_exit(spinner_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Goes round");
