/* SPDX-License-Identifier: GPL-2.0 */
int part_of_lines(int n);
