// SPDX-License-Identifier: GPL-2.0
#include "requeue.c"
