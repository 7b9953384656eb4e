// SPDX-License-Identifier: GPL-2.0
/* Functions that are inlined into each other, variables in frames and elsewhere. */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "part.h"

struct lines_record {
	int number;
	char text[20];
	struct { u16 a, b; } pairs[3];
};

static volatile int lines_sink;
static volatile struct lines_record lines_records[7];
static const char *volatile lines_names[] = { "one", "two" };

static noinline void lines_use(void *what)
{
	lines_sink += *(char *)what;
}

static __always_inline void lines_innermost(int n)
{
	if (n > 3)
		panic("never %d\n", n);	/* innermost line */
}

static __always_inline void lines_middle(int n)
{
	char room[24];

	memset(room, n, sizeof(room));
	lines_use(room);
	lines_innermost(n);	/* middle line */
}

static noinline int lines_outer(int n)
{
	struct lines_record record = { .number = n };
	int matrix[3][5];
	static int lines_times[4];

	memset(matrix, 0, sizeof(matrix));
	lines_use(&record);
	lines_use(matrix);
	lines_times[n & 3]++;
	lines_middle(n);	/* outer line */
	return matrix[n & 1][2] + record.text[3];
}

static int __init lines_init(void)
{
	lines_records[1].number = lines_outer(lines_sink);
	lines_sink += lines_names[lines_sink & 1][0];
	lines_sink += part_of_lines(2);	/* to the other file */
	return 0;
}

static void __exit lines_exit(void)
{
	lines_outer(2);
}

module_init(lines_init);
module_exit(lines_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Lines, inlined functions and variables");
