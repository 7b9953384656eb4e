// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a rule of security: nobody may bind a socket to one port.
 *
 * The kernel asks it beside its other security modules; it wants "bpf" among
 * them (/sys/kernel/security/lsm), as Debian's kernels have it.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define AF_INET 2 /* vmlinux.h has types, and no macros */
#define EPERM 1

/* Constants that are set before the program is loaded. */
const volatile __u16 port = 8080;

int refused;

SEC("lsm/socket_bind")
int BPF_PROG(skeleton_bind, struct socket *sock, struct sockaddr *address,
	     int length, int result)
{
	struct sockaddr_in *in = (struct sockaddr_in *)address;

	/* What another program has refused stays refused. */
	if (result || length < (int)sizeof(*in))
		return result;
	if (address->sa_family != AF_INET)
		return 0;
	if (BPF_CORE_READ(in, sin_port) != bpf_htons(port))
		return 0;
	__sync_fetch_and_add(&refused, 1);
	return -EPERM;
}

char LICENSE[] SEC("license") = "GPL";
