// SPDX-License-Identifier: GPL-2.0
/* A second file of the same module. */
#include <linux/kernel.h>
#include "part.h"

int part_of_lines(int n)
{
	char buffer[64];

	snprintf(buffer, sizeof(buffer), "%d", n);
	pr_info("part %s\n", buffer);	/* line of the part */
	return 0;
}
