/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A wall clock that a test sets, for itself and for programs that it starts with the library hmsg-test-clock
 * in LD_PRELOAD and TEST_CLOCK_VARIABLE. */

#include <stdint.h>

#define TEST_CLOCK_VARIABLE "HMSG_TEST_CLOCK" /* path of the file */

void test_clock_open(const char *path); /* makes the file */
void test_clock_set(int64_t seconds);   /* besides the right time */
