/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A fuzz target: one file each, with this function. With meson's option fuzzers (and clang) it becomes a
 * libFuzzer program; else replay.c runs it over the inputs of its corpus as an ordinary test. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program when it does not hold, in every build. fuzz_check: what needs memory; when an allocation
 * was made to fail the run ends there, and all is well. fuzz_must: what holds even then. */
void fuzz_check(int condition, const char *what);
void fuzz_must(int condition, const char *what);

/* Did faults.c make an allocation fail? */
bool fuzz_has_faulted(void);

/* For what a target has wrapped besides (faults-bus.c): is this call to fail? */
bool fuzz_fails(void);
/* Whether calls of this thread are left alone: what belongs to the test and not to the program
 * (faults-http.c). Returns how it was. */
bool fuzz_pause(bool paused);
