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

/* Calls f for each test of each group of a Wycheproof file, and prints how many were valid, invalid and
 * acceptable. f returns whether the vector was accepted; what is not as the file says fails the test. With
 * verdict "acceptable" either will do. f may say that a vector does not apply. */
typedef enum VectorResult {
    VECTOR_REFUSED,
    VECTOR_ACCEPTED,
    VECTOR_NOT_FOR_US,
} VectorResult;
typedef VectorResult (*test_vector_t)(const json_t *group, const json_t *test, void *userdata);
void test_vectors_run(const char *path, test_vector_t f, void *userdata);
