// SPDX-License-Identifier: GPL-2.0-or-later
/* Bad pointers of every kind, in init: which, `kind` says. */
#include <linux/err.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

static int kind;
module_param(kind, int, 0444);

struct part {
	int first;
	struct list_head link;
	struct {
		long deep;
		long deeper;
	} inner;
};

struct whole {
	char name[24];
	struct part *part;
	struct part own;
};

static struct whole *volatile given;
static struct part *volatile parts[4];
static volatile unsigned long seen;

static noinline void follow_null(struct whole *whole)
{
	whole->own.inner.deeper = 5; /* null */
}

static noinline struct part *find_part(int number)
{
	return number < 4 ? parts[number] : ERR_PTR(-ENODEV);
}

static noinline void use_error(int number)
{
	struct part *part = find_part(number);

	seen = part->inner.deep; /* error */
}

static inline void touch(struct part *inlined)
{
	inlined->first++; /* inlined */
}

static noinline void use_inlined(struct whole *whole)
{
	struct part *part = whole->part;

	touch(part);
}

static noinline void delete_twice(struct part *part)
{
	struct list_head *next = part->link.next;

	next->prev = NULL; /* poison */
}

static noinline void use_freed(struct whole *whole)
{
	struct part *gone = whole->part;

	seen = gone->first; /* freed */
}

static noinline size_t measure(const char *text)
{
	return strlen(text) + 1; /* kernel */
}

static noinline void follow_user(struct part *from_user)
{
	seen = from_user->inner.deep; /* user */
}

static int __init oopses_init(void)
{
	struct whole *whole = kzalloc(sizeof(*whole), GFP_KERNEL);
	struct part *part = kzalloc(sizeof(*part), GFP_KERNEL);

	if (!whole || !part)
		return -ENOMEM;
	if (kind == 0)
		follow_null(given);
	if (kind == 1)
		use_error(9);
	if (kind == 2)
		use_inlined(whole);
	if (kind == 3) {
		LIST_HEAD(list);

		list_add(&part->link, &list);
		list_del(&part->link);
		delete_twice(part);
	}
	if (kind == 4) {
		memset(whole, 0x6b, sizeof(*whole)); /* as slab poisoning does */
		use_freed(whole);
	}
	if (kind == 5)
		seen = measure((char *)parts[0]);
	if (kind == 6)
		follow_user((struct part *)0x7f0000001000);
	return 0;
}

static void __exit oopses_exit(void)
{
}

module_init(oopses_init);
module_exit(oopses_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Bad pointers");
