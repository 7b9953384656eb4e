/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SKELETON_H
#define SKELETON_H

/* For any module, whatever its licence. */
int skeleton_add(int a, int b);

/* For GPL modules that import the namespace SKELETON. */
int skeleton_calls(void);

#endif
