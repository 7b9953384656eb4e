// SPDX-License-Identifier: GPL-2.0
/* Work for bench/watched.py: a write of "NAME COUNT" to /proc/watched does the work of that name COUNT times. */
#include <linux/crc32.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#define BYTES 16384
static u8 *from, *to;
static u32 sum;
static char text[128];
static DEFINE_MUTEX(lock);

/* ---- the module's own instructions ---- */
static noinline void adding(void)
{
	const u32 *word = (const u32 *)from;
	u32 i, total = 0;

	for (i = 0; i < BYTES / 4; i++)
		total += word[i] ^ i;
	sum += total;
}

static noinline void table(void)
{
	u32 counts[256] = { 0 };
	int i;

	for (i = 0; i < BYTES; i++)
		counts[from[i]]++;
	for (i = 0; i < 256; i++)
		to[i] = counts[i];
}

static noinline void sieve(void)
{
	int i, j;

	memset(to, 1, BYTES);
	for (i = 2; i * i < BYTES; i++)
		if (to[i])
			for (j = i * i; j < BYTES; j += i)
				to[j] = 0;
}

/* ---- the kernel's, on its behalf ---- */
static void crc(void) { sum += crc32_le(~0, from, BYTES); }
static int compare(const void *a, const void *b) { return memcmp(a, b, 8); }
static noinline void sorting(void)
{
	memcpy(to, from, BYTES);
	sort(to, BYTES / 8, 8, compare, NULL);
}
static void copying(void) { memcpy(to, from, BYTES); }
static void printing(void) { sum += snprintf(text, sizeof(text), "%s %pUb %08x %lu", "watched", from, sum, (long)BYTES); }
static void searching(void) { sum += strnlen(from, BYTES) + !!memchr_inv(from + 1, 0, 64); }
static void locking(void)
{
	mutex_lock(&lock);
	sum++;
	mutex_unlock(&lock);
}
static void allocating(void) { kfree(kmalloc(200, GFP_KERNEL)); }

static const struct {
	const char *name;
	void (*run)(void);
} works[] = {
	{ "adding", adding }, { "table", table }, { "sieve", sieve }, { "crc", crc }, { "sorting", sorting },
	{ "copying", copying }, { "printing", printing }, { "searching", searching }, { "locking", locking },
	{ "allocating", allocating },
};

static ssize_t watched_write(struct file *file, const char __user *user, size_t size, loff_t *at)
{
	char line[64], name[32];
	int count, i, n;

	if (copy_from_user(line, user, min(size, sizeof(line) - 1)))
		return -EFAULT;
	line[min(size, sizeof(line) - 1)] = 0;
	if (sscanf(line, "%31s %d", name, &count) != 2)
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(works); i++)
		if (!strcmp(works[i].name, name)) {
			for (n = 0; n < count; n++)
				works[i].run();
			return size;
		}
	return -ENOENT;
}

static const struct proc_ops watched_ops = { .proc_write = watched_write };

static int __init watched_init(void)
{
	int i;

	from = kmalloc(BYTES, GFP_KERNEL);
	to = kzalloc(BYTES, GFP_KERNEL);
	if (!from || !to || !proc_create("watched", 0200, NULL, &watched_ops)) {
		kfree(to);
		kfree(from);
		return -ENOMEM;
	}
	for (i = 0; i < BYTES; i++)
		from[i] = i * 7 + (i >> 8) + 1 ?: 1;
	return 0;
}

static void __exit watched_exit(void)
{
	remove_proc_entry("watched", NULL);
	kfree(to);
	kfree(from);
}

module_init(watched_init);
module_exit(watched_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Work to be watched");
