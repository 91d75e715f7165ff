/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The keys under which the relay's store is encrypted, and what is done with them; AES-256-GCM and
 * HMAC-SHA-256. The keeper, which is the relay's identity key, wraps the index key and the root keys. A root
 * key, one at a time, wraps the data key of each identity. A data key seals what is known of its identity
 * and, of each message in the mailbox, the id, the submitter and the key of the body. Ids and names are found
 * again by their index, an HMAC. Any thread may call all functions. */

#include "libhmsg/wire/crypto.h"

#define AT_REST_KEY_SIZE 32u
#define AT_REST_INDEX_SIZE 16u
#define AT_REST_EXTRA 28u /* nonce and tag of what is sealed */
#define AT_REST_WRAPPED_SIZE (AT_REST_KEY_SIZE + AT_REST_EXTRA)
#define AT_REST_KEPT_SIZE_MAX 1024u    /* a key as the keeper wraps it */
#define AT_REST_SEALS_MAX (1ull << 31) /* random nonces under one data key: SP 800-38D section 8.3 */

/* Who wraps what opens all the rest. unwrap returns HMSG_ERROR_AUTHENTICATION_FAILED for what another
 * wrapped.
 */
typedef struct StoreKeeper {
    int (*wrap)(void *userdata, const Secret *key, Buf *ret);
    int (*unwrap)(void *userdata, const void *wrapped, size_t n, Secret **ret);
    void *userdata;
} StoreKeeper;

/* A new key, wrapped. It is unwrapped once before it is used: -EIO when another one comes out. */
int store_keeper_make(const StoreKeeper *k, Secret **ret, Buf *ret_wrapped);
int store_keeper_open(const StoreKeeper *k, const void *wrapped, size_t n, Secret **ret);

typedef struct AtRest AtRest;

int at_rest_new(AtRest **ret);
AtRest *at_rest_ref(AtRest *a);
AtRest *at_rest_unref(AtRest *a);
DEFINE_CLEANUP(AtRest *, at_rest_unref)

/* Both take key. A root that has this number already is replaced. */
void at_rest_set_index_key(AtRest *a, Secret *key); /* before other threads know a */
int at_rest_add_root(AtRest *a, int64_t number, Secret *key);
/* Forgets the roots with smaller numbers. */
void at_rest_forget_roots(AtRest *a, int64_t number);

/* Asks reload, which calls at_rest_add_root, when a data key is under a root that is not known, or does not
 * open, for somebody else may have changed it; then tries again. done(userdata) is called at the end. Before
 * other threads know a. */
void at_rest_set_reload(AtRest *a, int (*reload)(void *userdata), void (*done)(void *userdata),
                        void *userdata);

/* What a value is an index of: the same bytes have another index elsewhere. */
typedef enum IndexKind {
    INDEX_KEY = 'k',        /* skid or kid */
    INDEX_NAME = 'n',       /* of an address */
    INDEX_MESSAGE = 'm',    /* id */
    INDEX_SUBMITTER = 's',  /* id, index of skid: tells nobody which messages have the same submitter */
    INDEX_SHARE = 'h',      /* number of the mailbox, index of skid */
    INDEX_NEWS = 'w',       /* what hides an id from who reads the table of news: nonce, place */
    INDEX_INVITE = 'v',     /* code */
    INDEX_CAPABILITY = 'c', /* hash of the code */
    INDEX_CLAIM = 'l',      /* index of a former skid, kid that is said to have gone with it */
    INDEX_SENDER = 'r',     /* number of the mailbox, index of skid */
    INDEX_SETTINGS = 't'    /* number of the mailbox, digest of its settings */
} IndexKind;
#define AT_REST_INDEX_PARTS_MAX 2u
int at_rest_index(const AtRest *a, IndexKind kind, const Chunk *parts, size_t n_parts,
                  uint8_t ret[static AT_REST_INDEX_SIZE]);

/* Where a value stands: elsewhere it does not open. */
typedef struct AtRestPlace {
    char table; /* 'k' data key, 'i' identity, 'm' message */
    int64_t row, part;
    const uint8_t *index; /* of AT_REST_INDEX_SIZE, or NULL */
} AtRestPlace;

/* ret has n + AT_REST_EXTRA; n - AT_REST_EXTRA. HMSG_ERROR_AUTHENTICATION_FAILED. */
int at_rest_seal(const Secret *key, const AtRestPlace *place, const void *in, size_t n, uint8_t *ret);
int at_rest_open(const Secret *key, const AtRestPlace *place, const void *in, size_t n, uint8_t *ret);

/* Data keys, under a root. key has AT_REST_KEY_SIZE. -ESTALE: this root is not known. */
int at_rest_wrap(AtRest *a, int64_t root, const AtRestPlace *place, const Secret *key,
                 uint8_t ret[static AT_REST_WRAPPED_SIZE]);
int at_rest_unwrap(AtRest *a, int64_t root, const AtRestPlace *place,
                   const uint8_t wrapped[static AT_REST_WRAPPED_SIZE], Secret *ret);
