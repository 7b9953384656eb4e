// SPDX-License-Identifier: GPL-2.0
/* The kernel's own hardware breakpoints: on a variable, and on a function. */
#include <linux/hw_breakpoint.h>
#include <linux/module.h>
#include <linux/perf_event.h>

static int watched, other;
static struct perf_event *__percpu *on_variable, *__percpu *on_function;

static noinline void called(int number)
{
	pr_info("breakpoints: called %d\n", number);
}

static void hit(struct perf_event *event, struct perf_sample_data *data, struct pt_regs *regs)
{
	pr_info("breakpoints: %s is hit in %ps, it holds %d\n", event->attr.bp_type == HW_BREAKPOINT_X ? "code" : "data",
		(void *)regs->ip, READ_ONCE(watched));
}

static struct perf_event *__percpu *put(void *address, int type, int length)
{
	struct perf_event_attr attr;

	hw_breakpoint_init(&attr);
	attr.bp_addr = (unsigned long)address;
	attr.bp_type = type;
	attr.bp_len = length;
	return register_wide_hw_breakpoint(&attr, hit, NULL);
}

static int __init breakpoints_init(void)
{
	on_variable = put(&watched, HW_BREAKPOINT_W, HW_BREAKPOINT_LEN_4);
	if (IS_ERR((void __force *)on_variable))
		return PTR_ERR((void __force *)on_variable);
	on_function = put(called, HW_BREAKPOINT_X, sizeof(long));
	if (IS_ERR((void __force *)on_function)) {
		unregister_wide_hw_breakpoint(on_variable);
		return PTR_ERR((void __force *)on_function);
	}
	WRITE_ONCE(watched, 1);
	WRITE_ONCE(other, 1);
	WRITE_ONCE(watched, 2);
	called(3);
	unregister_wide_hw_breakpoint(on_variable);
	WRITE_ONCE(watched, 4);
	called(5);
	return 0;
}

static void __exit breakpoints_exit(void)
{
	unregister_wide_hw_breakpoint(on_function);
	called(6);
}

module_init(breakpoints_init);
module_exit(breakpoints_exit);
MODULE_DESCRIPTION("Hardware breakpoints");
MODULE_LICENSE("GPL");
