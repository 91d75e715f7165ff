/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A database that answers each query with rows of the input, whatever is asked: as one that somebody else has
 * in his power. A row is its number of columns (0: there is none; 255: it fails), then each of them: '#' and
 * a byte, '8' and eight are numbers, 't' bytes behind their length (two bytes). What would not open without
 * the keys is sealed here: 'k' and the numbers of an identity and of its data key is that key; 'i', 'f' and
 * 'm', with bytes as 't' has them, what is kept of an identity, of former keys (then the column of their
 * index) and of a message (then the columns of its index and size); 'b' a body, then a byte for how many
 * zeros follow. All are under the data key that was made last. Anything else is NULL. */

#include "libhmsg/db/db-driver.h"
#include "server/store-sqlite-internal.h"

#define ROWS_COLUMNS 15u

typedef struct Rows {
    StoreRemote remote;  /* first: it is what connects */
    const uint8_t *data; /* what is left of the input */
    size_t size;
    AtRest *at_rest;
    DataKey key;
    Secret *plain;
} Rows;

/* An error leaves something for rows_done as well. */
int rows_init(Rows *r, const uint8_t *data, size_t size);
void rows_done(Rows *r);
/* To be closed before. remote: of a Rows. */
int rows_connect(const StoreRemote *remote, bool patient, Db **ret);
