/* SPDX-License-Identifier: GPL-2.0 */
/*
 * In the place of mm/kasan/kasan.h, for KASAN's tests on kernels without KASAN. It comes after all other headers, so that
 * the tests believe in generic KASAN, and the kernel's own headers do not.
 */
#ifndef KOBOX_KASAN_H
#define KOBOX_KASAN_H

#include <linux/types.h>

#undef CONFIG_AMD_MEM_ENCRYPT /* for the tests of the string functions, which KASAN itself cannot watch with it */
#define CONFIG_KASAN_GENERIC 1
#define CONFIG_KASAN_STACK 1
#define CONFIG_KASAN_VMALLOC 1
#define CONFIG_KASAN_KUNIT_TEST_MODULE 1
#define CONFIG_CC_HAS_KASAN_MEMINTRINSIC_PREFIX 1 /* memset() and kin are watched */

#define KASAN_GRANULE_SIZE 8UL
#define KASAN_TAG_MIN 0xF0
#define KASAN_TAG_KERNEL 0xFF
#define get_tag(p) ((void)(p), 0xFF)
#define set_tag(p, tag) ((void)(tag), (p))
#define kasan_sync_fault_possible() false
#define kasan_async_fault_possible() false
#define kasan_force_async_fault() do { } while (0)
#define kasan_vmalloc_enabled() true
#define kasan_enable_tagging() do { } while (0)
#define kasan_enable_hw_tags() do { } while (0)
#define kasan_kunit_test_suite_start() do { } while (0)
#define kasan_kunit_test_suite_end() do { } while (0)
#define kasan_save_enable_multi_shot() false
#define kasan_restore_multi_shot(enabled) ((void)(enabled))
#define kasan_poison(p, size, value, init) ((void)(p))

void kasan_test_rust_uaf(void);

struct kunit_kasan_status {
	bool report_found;
	bool sync_fault;
};

#endif
