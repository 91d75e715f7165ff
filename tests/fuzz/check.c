/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

void fuzz_check(int condition, const char *what)
{
    if (condition)
        return;
    (void)fprintf(stderr, "does not hold: %s\n", what);
    abort();
}
