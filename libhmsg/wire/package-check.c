/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The stages of reading a package that come after its shape. */

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/package-internal.h"

int package_check_recipient(Package *p, const uint8_t kid[static KID_SIZE])
{
    if (!bytes_equal(p->kid, kid, KID_SIZE))
        return HMSG_ERROR_NOT_FOR_US;
    if (p->stage < PACKAGE_RECIPIENT_CHECKED)
        p->stage = PACKAGE_RECIPIENT_CHECKED;
    return 0;
}

int package_sender_key(const Package *p, RsaKey **ret)
{
    if (!p->has_sender)
        return -EINVAL;
    _cleanup_(rsa_key_freep) RsaKey *key = NULL;
    int r = rsa_key_from_spki(p->sender_spki.data, p->sender_spki.size, &key);
    if (r != 0)
        return r;
    if (!bytes_equal(rsa_key_thumbprint(key), p->skid, KID_SIZE))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    *ret = TAKE_PTR(key);
    return 0;
}

static int read_statement(const Package *p, const SessionStatement *known, SessionStatement *ret)
{
    if (known && bytes_equal(known->sha256, p->statement_sha256, SHA256_SIZE) &&
        bytes_equal(known->spki_sha256, p->spki_sha256, SHA256_SIZE)) {
        *ret = *known;
        return 0;
    }
    _cleanup_(rsa_key_freep) RsaKey *sender = NULL;
    int r = package_sender_key(p, &sender);
    return r == 0 ? session_statement_parse(buf_text(&p->statement), p->statement.size, sender, ret) : r;
}

bool package_is_of(const Package *p, const SessionStatement *s)
{
    /* expires bounds ts, never the present time */
    return bytes_equal(s->sid, p->sid, SESSION_ID_SIZE) && bytes_equal(s->skid, p->skid, KID_SIZE) &&
           bytes_equal(s->kid, p->kid, KID_SIZE) && bytes_equal(s->kc, p->kc, KEY_COMMITMENT_SIZE) &&
           p->ts >= s->created && p->ts <= s->expires;
}

int package_check_sender(Package *p, const SessionStatement *known, SessionStatement *ret)
{
    if (p->stage < PACKAGE_RECIPIENT_CHECKED)
        return -EPERM;
    if (!p->has_sender) {
        p->stage = PACKAGE_SENDER_CHECKED;
        return 0;
    }
    SessionStatement s = {};
    int r = read_statement(p, known, &s);
    if (r != 0)
        return r;
    if (!package_is_of(p, &s) || !bytes_equal(s.ek_sha256, p->ek_sha256, SHA256_SIZE))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    p->stage = PACKAGE_SENDER_CHECKED;
    if (ret)
        *ret = s;
    return 0;
}

int package_cache_id(const Package *p, uint8_t ret[static SHA256_SIZE])
{
    uint8_t all[KID_SIZE + RSA_SIZE_MAX + KID_SIZE + SHA256_SIZE];
    size_t n = 0;
    memcpy(all, p->kid, KID_SIZE);
    n += KID_SIZE;
    memcpy(all + n, p->encrypted_key.data, p->encrypted_key.size);
    n += p->encrypted_key.size;
    memcpy(all + n, p->skid, KID_SIZE);
    n += KID_SIZE;
    memcpy(all + n, p->statement_sha256, SHA256_SIZE);
    return crypto_sha256(all, n + SHA256_SIZE, ret);
}

int package_commitment(const Secret *keys, uint8_t ret[static KEY_COMMITMENT_SIZE])
{
    const Chunk label = {KEY_COMMITMENT_LABEL, sizeof(KEY_COMMITMENT_LABEL) - 1};
    return crypto_hmac_sha256(secret_bytes(keys), secret_size(keys), &label, 1, ret);
}

int package_check_keys(const Package *p, const Secret *keys)
{
    uint8_t kc[KEY_COMMITMENT_SIZE];
    int r = package_commitment(keys, kc);
    if (r == 0 && !bytes_equal(kc, p->kc, sizeof(kc)))
        r = HMSG_ERROR_AUTHENTICATION_FAILED;
    bytes_wipe(kc, sizeof(kc));
    return r;
}

/* Of a recalled package it is the statement's, by which the caller found the keys. */
static int check_commitment(const Package *p, const Secret *keys)
{
    return p->recalled ? 0 : package_check_keys(p, keys);
}

int package_open(const Package *p, const Secret *keys, Buf *ret)
{
    _cleanup_(secret_freep) Secret *random = NULL;
    if (p->stage < PACKAGE_SENDER_CHECKED)
        return -EPERM;
    if (!keys || secret_size(keys) != SESSION_KEYS_SIZE) {
        int r = secret_new_random(SESSION_KEYS_SIZE, &random);
        if (r != 0)
            return r;
        keys = random;
    }
    int r = check_commitment(p, keys);
    if (r < 0)
        return r;
    /* The MAC is computed even when the commitment is wrong: one error, one time. */
    bool committed = r == 0;
    r = crypto_cbc_hs512_verify(secret_bytes(keys), p->iv, p->protected_text.data, p->protected_text.size,
                                p->ciphertext.data, p->ciphertext.size, p->tag);
    if (r == 0 && !committed)
        r = HMSG_ERROR_AUTHENTICATION_FAILED;
    if (r != 0)
        return r;
    r = crypto_cbc_decrypt(secret_bytes(keys) + 32, p->iv, p->ciphertext.data, p->ciphertext.size, ret);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}
