/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What programs and the module agree on. Types of <linux/types.h> have the
 * same size in both, on 32 and 64 bit.
 */
#ifndef SKELETON_H
#define SKELETON_H

#include <linux/ioctl.h>
#include <linux/types.h>

struct skeleton_status {
	__u32 size;	/* bytes the buffer can hold */
	__u32 used;	/* bytes in it */
};

#define SKELETON_IOC_MAGIC	'k'
/* Forget the content. */
#define SKELETON_IOC_CLEAR	_IO(SKELETON_IOC_MAGIC, 0)
/* Fill in struct skeleton_status. */
#define SKELETON_IOC_STATUS	_IOR(SKELETON_IOC_MAGIC, 1, struct skeleton_status)

#endif
