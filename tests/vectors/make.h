/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of make-vectors and make-recovery share. A file is {"vectors":[…]}; each vector has name,
 * result ("valid" or the error's name) and members of its kind, see README.md. */

#include <jansson.h>

#include "tests/lib/person.h"

#define VECTORS_NOW INT64_C(1800000000) /* the present time of all of them; that of stream-util.h too */

typedef struct Cast {
    TestPerson *alice, *bob, *carol;
} Cast;

/* Adds a vector; takes over v. */
void vector_add(json_t *list, const char *name, const char *result, json_t *v);
/* base64url, to be freed by json. */
json_t *vector_bytes(const void *data, size_t n);
/* text with new in place of old, which must be there once; to be freed. */
char *vector_replace(const char *text, const char *old, const char *new);
/* text whose character behind the first `before` is another. */
char *vector_spoil(const char *text, const char *before);

/* A file of vectors, or of something else; takes over what is written. */
void vector_save(const char *path, json_t *list);
void vector_save_json(const char *path, json_t *root);

/* Arrays of vectors. */
json_t *make_packages(const Cast *c);
json_t *make_jwe(const Cast *c);
json_t *make_seeds(const Cast *c);
json_t *make_streams(const Cast *c);
json_t *make_statements(const Cast *c, EVP_PKEY *relay, EcKey *online);
json_t *make_derived(const Cast *c);
