// SPDX-License-Identifier: GPL-2.0
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

int bytes;
int failures;

/* A program for meter_write() goes here. This one counts whatever is written anywhere. */
SEC("fexit/vfs_write")
int BPF_PROG(gauge, struct file *file, const char *data, size_t size, loff_t *at, ssize_t result)
{
	bytes += result;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
