/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Test vectors of others: JSON files under $HMSG_VECTORS, which meson sets. Where a file is missing the test
 * is skipped, and says so. */

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* "wycheproof/hkdf_sha256_test.json"; a new reference, or NULL after g_test_skip. */
json_t *test_vectors_load(const char *path);

/* A member in hexadecimal, to be freed; *ret_size bytes. Missing or malformed: g_error. */
uint8_t *test_vectors_hex(const json_t *object, const char *name, size_t *ret_size);
const char *test_vectors_text(const json_t *object, const char *name);

typedef enum VectorResult {
    VECTOR_REFUSED,
    VECTOR_ACCEPTED,
    VECTOR_BY_POLICY, /* valid or not, it is nothing that we take, or refuse; *ret_why says why */
} VectorResult;

/* Counts of one file: what it says (valid, invalid, acceptable) by what came of it. */
#define VECTOR_VERDICTS 3
typedef struct VectorCounts {
    unsigned counts[VECTOR_VERDICTS][VECTOR_BY_POLICY + 1];
    GHashTable *reasons; /* text to count */
} VectorCounts;

/* Counts one; what is not as the verdict says fails the test. Of "acceptable" either will do. */
void test_vectors_count(VectorCounts *c, const char *path, const json_t *test, VectorResult got,
                        const char *why);
/* Prints and clears. Nothing accepted or refused: fails the test. */
void test_vectors_print(VectorCounts *c, const char *path);

/* Calls f for each test of each group of a Wycheproof file, counts and prints. */
typedef VectorResult (*test_vector_t)(const json_t *group, const json_t *test, void *userdata,
                                      const char **ret_why);
void test_vectors_run(const char *path, test_vector_t f, void *userdata);
