// SPDX-License-Identifier: GPL-2.0
/* A program on a function of a module: found by the module's own BTF. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

int calls, command, result;

SEC("fentry/loop:loop_control_ioctl")
int BPF_PROG(on_entry, struct file *file, unsigned int given)
{
	calls++;
	command = given;
	return 0;
}

SEC("fexit/loop:loop_control_ioctl")
int BPF_PROG(on_exit, struct file *file, unsigned int given, unsigned long argument, long returned)
{
	result = returned;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
