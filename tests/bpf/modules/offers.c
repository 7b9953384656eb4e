// SPDX-License-Identifier: GPL-2.0
/* Offers eBPF programs two functions (kfuncs) and a tracepoint. */
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/module.h>
#include <linux/version.h>

#define CREATE_TRACE_POINTS
#include "offers_trace.h"

/* __bpf_kfunc came with 6.3, BTF_KFUNCS_START with 6.9. */
#ifndef __bpf_kfunc
#define __bpf_kfunc noinline __used
#endif
#ifndef BTF_KFUNCS_START
#define BTF_KFUNCS_START(name) BTF_SET8_START(name)
#define BTF_KFUNCS_END(name) BTF_SET8_END(name)
#endif

__bpf_kfunc int offers_twice(int number);
__bpf_kfunc int offers_less(int number);

__bpf_kfunc int offers_twice(int number)
{
	trace_offers_asked(number);
	return 2 * number;
}

__bpf_kfunc int offers_less(int number)
{
	return number - 1;
}

BTF_KFUNCS_START(offers_ids)
BTF_ID_FLAGS(func, offers_twice)
BTF_ID_FLAGS(func, offers_less)
BTF_KFUNCS_END(offers_ids)

static const struct btf_kfunc_id_set offers_set = {
	.owner = THIS_MODULE,
	.set = &offers_ids,
};

static int __init offers_init(void)
{
	return register_btf_kfunc_id_set(BPF_PROG_TYPE_SCHED_CLS, &offers_set);
}

static void __exit offers_exit(void)
{
}

module_init(offers_init);
module_exit(offers_exit);

MODULE_LICENSE("GPL");
