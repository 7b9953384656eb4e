// SPDX-License-Identifier: GPL-2.0
#include "refs.c"
