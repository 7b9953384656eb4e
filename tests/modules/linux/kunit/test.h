/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of KUnit as KASAN's tests use, for kernels without it: a suite becomes a module whose init runs the case that
 * the parameter `run` names. Nobody asks KUnit what a case has found, so that expectations are of no effect. An assertion
 * that does not hold is a bug of the kernel's: it may stand in functions of any type, and nothing may come after it.
 */
#ifndef KOBOX_KUNIT_TEST_H
#define KOBOX_KUNIT_TEST_H

#include <linux/bug.h>
#include <linux/err.h>
#include <linux/module.h>
#include <linux/printk.h>
#include <linux/string.h>

struct kunit { int unused; };
struct kunit_resource { int unused; };
struct kunit_case {
	void (*run_case)(struct kunit *test);
	const char *name;
};
struct kunit_suite {
	const char *name;
	int (*suite_init)(struct kunit_suite *suite);
	void (*suite_exit)(struct kunit_suite *suite);
	int (*init)(struct kunit *test);
	void (*exit)(struct kunit *test);
	struct kunit_case *test_cases;
};

#define KUNIT_SUBTEST_INDENT ""
#define KUNIT_CASE(function) { .run_case = function, .name = #function }
#define KUNIT_END_UNLESS(condition)                                  \
	do {                                                         \
		if (!(condition)) {                                  \
			pr_err("kunit: not so: " #condition "\n");   \
			BUG();                                       \
		}                                                    \
	} while (0)
#define KUNIT_ASSERT_NOT_ERR_OR_NULL(test, p) KUNIT_END_UNLESS(!IS_ERR_OR_NULL(p))
#define KUNIT_ASSERT_NULL(test, p) KUNIT_END_UNLESS(!(p))
#define KUNIT_ASSERT_TRUE(test, c) KUNIT_END_UNLESS(c)
#define KUNIT_ASSERT_EQ(test, a, b) KUNIT_END_UNLESS((a) == (b))
#define KUNIT_ASSERT_LT(test, a, b) KUNIT_END_UNLESS((a) < (b))
#define KUNIT_ASSERT_GE(test, a, b) KUNIT_END_UNLESS((a) >= (b))
#define KUNIT_EXPECT_FALSE(test, c) ((void)(c))
#define KUNIT_EXPECT_TRUE(test, c) ((void)(c))
#define KUNIT_EXPECT_PTR_EQ(test, a, b) ((void)(a), (void)(b))
#define KUNIT_EXPECT_PTR_NE(test, a, b) ((void)(a), (void)(b))
#define KUNIT_EXPECT_NE(test, a, b) ((void)(a), (void)(b))
#define KUNIT_EXPECT_GT(test, a, b) ((void)(a), (void)(b))
#define KUNIT_EXPECT_GE(test, a, b) ((void)(a), (void)(b))
#define KUNIT_EXPECT_LE(test, a, b) ((void)(a), (void)(b))
#define KUNIT_EXPECT_LT(test, a, b) ((void)(a), (void)(b))
#define KUNIT_FAIL(test, ...) ((void)(test))
#define kunit_err(test, format, ...) pr_err("kunit: " format, ##__VA_ARGS__)
#define kunit_skip(test, reason)                   \
	do {                                       \
		pr_info("kunit: " reason "\n");    \
		return;                            \
	} while (0)
#define kunit_add_named_resource(test, init, free, resource, name, data) ((void)(resource), (void)(data))

#define kunit_test_suite(suite)                                                                      \
	static char *run = "";                                                                       \
	module_param(run, charp, 0);                                                                 \
	static int __init run_named_case(void)                                                       \
	{                                                                                            \
		struct kunit test = {};                                                              \
		struct kunit_case *each;                                                             \
                                                                                                     \
		(void)(suite).init;                                                                  \
		for (each = (suite).test_cases; each->name; each++) {                                \
			if (!strcmp(each->name, run)) {                                              \
				each->run_case(&test);                                               \
				return 0;                                                            \
			}                                                                            \
		}                                                                                    \
		return -ENOENT;                                                                      \
	}                                                                                            \
	static void __exit leave(void) {}                                                            \
	module_init(run_named_case);                                                                 \
	module_exit(leave)

#endif
