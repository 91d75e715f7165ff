/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#pragma weak fuzz_has_faulted /* only faults.c has it */

void fuzz_must(int condition, const char *what)
{
    if (condition)
        return;
    (void)fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

void fuzz_check(int condition, const char *what)
{
    if (!condition && fuzz_has_faulted && fuzz_has_faulted())
        _exit(0); /* that it did not work out is right */
    fuzz_must(condition, what);
}
