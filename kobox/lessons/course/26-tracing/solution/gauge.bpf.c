// SPDX-License-Identifier: GPL-2.0
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

int bytes;
int failures;

SEC("fexit/meter:meter_write")
int BPF_PROG(gauge, struct file *file, const char *data, size_t size, loff_t *at, ssize_t result)
{
	if (result < 0)
		failures++;
	else
		bytes += result;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
