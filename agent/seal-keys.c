/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/seal-keys.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

int seal_keys_append(SealKeys *k, const SealKey *key)
{
    if (strlen(key->kid) != HASH_TEXT_SIZE - 1)
        return -EINVAL;
    if (k->n == RECIPIENTS_MAX)
        return HMSG_ERROR_TOO_LARGE;
    memcpy(k->kids[k->n], key->kid, HASH_TEXT_SIZE);
    k->keys[k->n] = *key;
    k->keys[k->n].kid = k->kids[k->n];
    k->n++;
    return 0;
}

int seal_keys_add(SealKeys *k, const SealKey *key)
{
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->kids[i], key->kid) == 0)
            return 0;
    return seal_keys_append(k, key);
}

int seal_keys_add_recovery(SealKeys *k, const RecoveryKeys *recovery)
{
    int r = 0;

    for (size_t i = 0; r == 0 && recovery && i < recovery->n; i++) {
        const RsaKey *key = recovery->keys[i].decrypt;
        char kid[HASH_TEXT_SIZE];
        SealKey one = {.kid = kid};

        base64url_encode(rsa_key_thumbprint(key), KID_SIZE, kid);
        one.spki = rsa_key_spki(key, &one.spki_size);
        r = seal_keys_add(k, &one);
    }
    return r;
}

int seal_join(const Buf *packages, size_t n, Buf *ret)
{
    int r = n == 1 ? buf_append(ret, packages[0].data, packages[0].size) : 0;

    for (size_t i = 0; n > 1 && i < n && r == 0; i++) {
        r = buf_append_string(ret, i == 0 ? "[" : ",");
        if (r == 0)
            r = buf_append(ret, packages[i].data, packages[i].size);
    }
    return r == 0 && n > 1 ? buf_append_string(ret, "]") : r;
}
