/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A fuzz target: one file each, with this function. With meson's option fuzzers (and clang) it becomes a
 * libFuzzer program; else replay.c runs it over the inputs of its corpus as an ordinary test. */

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program when it does not hold, in every build. */
void fuzz_check(int condition, const char *what);
