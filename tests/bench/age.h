/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What hmsgctl is compared with: age, with a key of its own. */

#include <glib.h>
#include <stdbool.h>

typedef struct Age Age;

/* NULL, and says so, where age is not installed. folder: for its key. */
Age *age_new(const char *folder);
void age_free(Age *a);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Age, age_free)

/* How long it takes in microseconds. */
double age_encrypt(const Age *a, const char *in, const char *out);
/* out: NULL for standard output. */
double age_decrypt(const Age *a, const char *in, const char *out);
