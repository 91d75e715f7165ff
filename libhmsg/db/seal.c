/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/db/seal.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/db/seal-internal.h"
#include "libhmsg/wire/crypto.h"

#define TAG_SIZE 16u
#define IV_SIZE 12u
#define PLAIN_SIZE (DB_SEAL_PAGE_SIZE - DB_SEAL_RESERVED)
#define BOUND_HEAD 16u /* bytes of a head that stay while SQLite makes its checksums anew */
#define PAGE_LABEL "hmsg store page"
#define HEAD_LABEL "hmsg store head"
#define NAME_LABEL "hmsg store name"
#define HEAD_KEY_SIZE 64u

_Static_assert(TAG_SIZE + IV_SIZE + SEAL_KEY_NAME_SIZE == DB_SEAL_RESERVED, "the end of a page");

static int derive(const Secret *key, const char *label, void *ret, size_t n)
{
    return crypto_hkdf_sha512(secret_bytes(key), DB_SEAL_KEY_SIZE, NULL, 0, label, strlen(label), ret, n);
}

static void key_done(SealKey *k)
{
    k->page = secret_free(k->page);
    k->head = secret_free(k->head);
}

static int key_init(SealKey *k, const Secret *key)
{
    int r;

    if (secret_size(key) != DB_SEAL_KEY_SIZE)
        return -EINVAL;
    r = secret_new(DB_SEAL_KEY_SIZE, &k->page);
    if (r == 0)
        r = secret_new(HEAD_KEY_SIZE, &k->head);
    if (r == 0)
        r = derive(key, PAGE_LABEL, secret_data(k->page), DB_SEAL_KEY_SIZE);
    if (r == 0)
        r = derive(key, HEAD_LABEL, secret_data(k->head), HEAD_KEY_SIZE);
    if (r == 0)
        r = derive(key, NAME_LABEL, k->name, sizeof(k->name));
    if (r != 0)
        key_done(k);
    return r;
}

int db_seal_new(const Secret *key, DbSeal **ret)
{
    _cleanup_(db_seal_freep) DbSeal *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    r = key_init(&s->keys[0], key);
    if (r != 0)
        return r;
    if (seal_vfs_register(s) != 0)
        return -EIO;
    *ret = TAKE_PTR(s);
    return 0;
}

DbSeal *db_seal_free(DbSeal *s)
{
    if (!s)
        return NULL;
    seal_vfs_unregister(s);
    key_done(&s->keys[0]);
    key_done(&s->keys[1]);
    free(s);
    return NULL;
}

int db_seal_change(DbSeal *s, const Secret *key)
{
    SealKey new = {.page = NULL};
    int r;

    if (s->keys[1].page)
        return -EBUSY;
    r = key_init(&new, key);
    if (r != 0)
        return r;
    s->keys[1] = s->keys[0];
    s->keys[0] = new;
    return 0;
}

void db_seal_forget(DbSeal *s)
{
    key_done(&s->keys[1]);
}

/* By the name at the end of a page; NULL: none of ours. */
static const SealKey *find_key(const DbSeal *s, const uint8_t *page)
{
    const uint8_t *name = page + (DB_SEAL_PAGE_SIZE - SEAL_KEY_NAME_SIZE);

    for (size_t i = 0; i < ELEMENTSOF(s->keys); i++)
        if (s->keys[i].page && memcmp(s->keys[i].name, name, SEAL_KEY_NAME_SIZE) == 0) /* public */
            return &s->keys[i];
    return NULL;
}

bool seal_names_key(const DbSeal *s, const uint8_t *page)
{
    return find_key(s, page) != NULL;
}

/* What a page is bound to besides its key: which file, where, and in the log for which page of the store. */
typedef struct Bound {
    uint8_t bytes[1 + sizeof(uint64_t) + BOUND_HEAD];
    size_t n;
} Bound;

static Bound bind_to(const SealPlace *at)
{
    Bound b = {.n = 1 + sizeof(uint64_t)};

    b.bytes[0] = at->head ? 'l' : 's';
    for (size_t i = 0; i < sizeof(uint64_t); i++)
        b.bytes[1 + i] = (uint8_t)(at->offset >> (56 - 8 * i));
    if (at->head) {
        memcpy(b.bytes + b.n, at->head, BOUND_HEAD);
        b.n += BOUND_HEAD;
    }
    return b;
}

int seal_page(const DbSeal *s, const SealPlace *at, const uint8_t *page, uint8_t *ret)
{
    const SealKey *k = &s->keys[0];
    const Bound bound = bind_to(at);
    uint8_t nonce[IV_SIZE];
    int r;

    r = crypto_random(nonce, sizeof(nonce));
    if (r == 0)
        r = crypto_gcm_seal(secret_bytes(k->page), nonce, bound.bytes, bound.n, page, PLAIN_SIZE, ret);
    if (r != 0)
        return r;
    memcpy(ret + PLAIN_SIZE + TAG_SIZE, nonce, IV_SIZE);
    memcpy(ret + DB_SEAL_PAGE_SIZE - SEAL_KEY_NAME_SIZE, k->name, SEAL_KEY_NAME_SIZE);
    return 0;
}

int seal_open_page(const DbSeal *s, const SealPlace *at, const uint8_t *page, uint8_t *ret)
{
    const SealKey *k = find_key(s, page);
    const Bound bound = bind_to(at);
    int r;

    if (!k)
        return -EBADMSG;
    r = crypto_gcm_open(secret_bytes(k->page), page + PLAIN_SIZE + TAG_SIZE, bound.bytes, bound.n, page,
                        PLAIN_SIZE + TAG_SIZE, ret);
    if (r == HMSG_ERROR_AUTHENTICATION_FAILED)
        return -EBADMSG;
    if (r == 0)
        memset(ret + PLAIN_SIZE, 0, DB_SEAL_RESERVED);
    return r;
}

/* AES-256-XTS (IEEE 1619) with the offset as the number of the unit. */
static int crypt_head(const SealKey *k, uint64_t offset, const uint8_t *head, bool encrypt, uint8_t *ret)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    uint8_t unit[16] = {0};
    int n = 0;
    bool ok;

    if (!c)
        return -ENOMEM;
    for (size_t i = 0; i < sizeof(offset); i++)
        unit[i] = (uint8_t)(offset >> (8 * i));
    ok = EVP_CipherInit_ex2(c, EVP_aes_256_xts(), secret_bytes(k->head), unit, encrypt, NULL) == 1 &&
         EVP_CipherUpdate(c, ret, &n, head, SEAL_HEAD_SIZE) == 1 && n == (int)SEAL_HEAD_SIZE;
    EVP_CIPHER_CTX_free(c);
    return ok ? 0 : -EIO;
}

int seal_head(const DbSeal *s, uint64_t offset, const uint8_t *head, uint8_t *ret)
{
    return crypt_head(&s->keys[0], offset, head, true, ret);
}

int seal_open_head(const DbSeal *s, uint64_t offset, const uint8_t *head, const uint8_t *page, uint8_t *ret)
{
    const SealKey *k = find_key(s, page);

    return k ? crypt_head(k, offset, head, false, ret) : -EBADMSG;
}
