// SPDX-License-Identifier: GPL-2.0
#include "donereuse.c"
