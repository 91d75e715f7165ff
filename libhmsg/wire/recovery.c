/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/recovery.h"

#define MEMBER "recovery"

bool recovery_keys_have(const RecoveryKeys *k, const RsaKey *key)
{
    for (size_t i = 0; i < k->n; i++)
        if (rsa_key_equal(k->keys[i].decrypt, key) ||
            (k->keys[i].sign && rsa_key_equal(k->keys[i].sign, key)))
            return true;
    return false;
}

int recovery_keys_add(RecoveryKeys *k, RsaKey *decrypt, RsaKey *sign)
{
    if (k->n == RECOVERY_KEYS_MAX)
        return -ENOSPC;
    if (recovery_keys_have(k, decrypt) ||
        (sign && (recovery_keys_have(k, sign) || rsa_key_equal(decrypt, sign))))
        return HMSG_ERROR_BAD_PACKAGE;
    k->keys[k->n++] = (RecoveryKey){.decrypt = rsa_key_ref(decrypt), .sign = sign ? rsa_key_ref(sign) : NULL};
    return 0;
}

void recovery_keys_copy(const RecoveryKeys *k, RecoveryKeys *ret)
{
    *ret = *k;
    for (size_t i = 0; i < k->n; i++) {
        (void)rsa_key_ref(k->keys[i].decrypt);
        if (k->keys[i].sign)
            (void)rsa_key_ref(k->keys[i].sign);
    }
}

void recovery_keys_done(RecoveryKeys *k)
{
    for (size_t i = 0; i < k->n; i++) {
        (void)rsa_key_free(k->keys[i].decrypt);
        (void)rsa_key_free(k->keys[i].sign);
    }
    *k = (RecoveryKeys){};
}

static int put_key(json_t *j, const char *name, const RsaKey *key)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(key, &n);
    return json_put_bytes(j, name, spki, n);
}

int recovery_keys_put(const RecoveryKeys *k, json_t *j)
{
    if (k->n == 0)
        return 0;
    _cleanup_(json_decrefp) json_t *list = json_array();
    int r = list ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < k->n; i++) {
        _cleanup_(json_decrefp) json_t *one = json_object();
        r = put_key(one, "decrypt", k->keys[i].decrypt);
        if (r == 0 && k->keys[i].sign)
            r = put_key(one, "sign", k->keys[i].sign);
        if (r == 0)
            r = json_array_append(list, one) == 0 ? 0 : -ENOMEM;
    }
    return r == 0 ? json_put(j, MEMBER, json_incref(list)) : r;
}

static int get_key(const json_t *j, const char *name, RsaKey **ret)
{
    _cleanup_(buf_done) Buf spki = BUF_MAX(SPKI_SIZE_MAX);
    int r = json_get_buf(j, name, &spki);
    if (r == HMSG_ERROR_TOO_LARGE)
        return HMSG_ERROR_BAD_PACKAGE;
    return r == 0 ? rsa_key_from_spki(spki.data, spki.size, ret) : r;
}

static int get_one(const json_t *j, RecoveryKeys *k)
{
    static const char *const names[] = {"decrypt", "sign", NULL};
    _cleanup_(rsa_key_freep) RsaKey *decrypt = NULL, *sign = NULL;
    int r = json_is_object(j) ? json_check_names(j, names) : HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = get_key(j, "decrypt", &decrypt);
    if (r == 0 && json_has(j, "sign"))
        r = get_key(j, "sign", &sign);
    return r == 0 ? recovery_keys_add(k, decrypt, sign) : r;
}

int recovery_keys_get(const json_t *j, RecoveryKeys *ret)
{
    _cleanup_(recovery_keys_done) RecoveryKeys k = {};
    json_t *list = NULL;
    int r = json_has(j, MEMBER) ? json_get_array(j, MEMBER, &list) : 0;
    size_t n = json_array_size(list); /* 0 for what is not there */
    if (r == 0 && list && (n == 0 || n > RECOVERY_KEYS_MAX))
        r = HMSG_ERROR_BAD_PACKAGE;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = get_one(json_array_get(list, i), &k);
    if (r != 0)
        return r;
    *ret = k;
    k = (RecoveryKeys){};
    return 0;
}
