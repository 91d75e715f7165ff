/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The people of keys.json, with their private keys. */

#include <jansson.h>

#include "tests/lib/person.h"

/* Somebody of the file's object; to be freed with test_person_free. g_error: not what it should be. */
TestPerson *vector_person(const json_t *people, const char *name);

typedef struct VectorPeople {
    TestPerson *alice, *bob, *carol;
} VectorPeople;

/* All of keys.json in the folder. */
VectorPeople vector_people(const char *folder);
void vector_people_done(VectorPeople *p);
