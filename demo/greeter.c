// SPDX-License-Identifier: GPL-2.0-or-later
/* A module with three kinds of parameters: a number, a text, and an array of numbers. */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

static int times = 1;
module_param(times, int, 0644);
MODULE_PARM_DESC(times, "how often to greet");

static char *whom = "world";
module_param(whom, charp, 0444);
MODULE_PARM_DESC(whom, "whom to greet");

static int marks[4];
static int nr_marks;
module_param_array(marks, int, &nr_marks, 0444);
MODULE_PARM_DESC(marks, "up to four numbers to add up");

static int __init greeter_init(void)
{
	int i, sum = 0;

	for (i = 0; i < times; i++)
		pr_info("greeter: hello, %s\n", whom);
	for (i = 0; i < nr_marks; i++)
		sum += marks[i];
	if (nr_marks)
		pr_info("greeter: %d marks, together %d\n", nr_marks, sum);
	return 0;
}

static void __exit greeter_exit(void)
{
	pr_info("greeter: times is %d now; goodbye\n", times);
}

module_init(greeter_init);
module_exit(greeter_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Greets, and shows what module parameters are");
