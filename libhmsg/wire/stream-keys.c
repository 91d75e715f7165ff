/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/statement-internal.h"
#include "libhmsg/wire/stream-internal.h"

/* With the final 0, which ends the name of the AEAD. */
static const char info_prefix[] = "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM";

int stream_keys_derive(const Secret *file_key, const uint8_t salt[static STREAM_SALT_SIZE],
                       const uint8_t context[static SHA256_SIZE], bool seal, StreamKeys *ret)
{
    _cleanup_(secret_freep) Secret *okm = NULL;
    uint8_t info[sizeof(info_prefix) + STREAM_SALT_SIZE + SHA256_SIZE];
    memcpy(info, info_prefix, sizeof(info_prefix));
    memcpy(info + sizeof(info_prefix), salt, STREAM_SALT_SIZE);
    memcpy(info + sizeof(info_prefix) + STREAM_SALT_SIZE, context, SHA256_SIZE);
    const size_t key_size = 32;
    int r = secret_new(key_size + STREAM_NONCE_SIZE + STREAM_COMMITMENT_SIZE, &okm);
    if (r == 0)
        r = crypto_hkdf_expand_sha512(secret_bytes(file_key), secret_size(file_key), info, sizeof(info),
                                      secret_data(okm), secret_size(okm));
    for (size_t i = 0; r == 0 && i < ELEMENTSOF(ret->gcm); i++)
        r = gcm_new(secret_bytes(okm), seal, &ret->gcm[i]);
    if (r != 0)
        return r;
    memcpy(ret->nonce, secret_bytes(okm) + key_size, STREAM_NONCE_SIZE);
    memcpy(ret->commitment, secret_bytes(okm) + key_size + STREAM_NONCE_SIZE, STREAM_COMMITMENT_SIZE);
    return 0;
}

void stream_keys_done(StreamKeys *k)
{
    for (size_t i = 0; i < ELEMENTSOF(k->gcm); i++)
        k->gcm[i] = gcm_free(k->gcm[i]);
    bytes_wipe(k, sizeof(*k));
}

void stream_nonce(const StreamKeys *k, uint64_t chunk, uint8_t ret[static STREAM_NONCE_SIZE])
{
    memcpy(ret, k->nonce, STREAM_NONCE_SIZE);
    for (size_t i = 0; i < 8; i++)
        ret[STREAM_NONCE_SIZE - 1 - i] ^= (uint8_t)(chunk >> (8 * i));
}

int stream_trailer_prepare(const RsaKey *sender, const uint8_t header_sha256[static SHA256_SIZE],
                           const uint8_t ciphertext_sha256[static SHA256_SIZE], JwsDraft *ret)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_bytes(j, "header", header_sha256, SHA256_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "ciphertext", ciphertext_sha256, SHA256_SIZE);
    return r == 0 ? statement_draft(j, JWS_PS256, JWS_STREAM, rsa_key_thumbprint(sender), ret) : r;
}

int stream_trailer_check(const char *text, size_t n, const RsaKey *sender,
                         const uint8_t header_sha256[static SHA256_SIZE],
                         const uint8_t ciphertext_sha256[static SHA256_SIZE])
{
    static const char *const names[] = {"header", "ciphertext", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    int r = statement_open_rsa(text, n, JWS_STREAM, sender, names, &j);
    if (r == 0)
        r = statement_expect_bytes(j, "header", header_sha256, SHA256_SIZE);
    if (r == 0)
        r = statement_expect_bytes(j, "ciphertext", ciphertext_sha256, SHA256_SIZE);
    return r > 0 ? HMSG_ERROR_AUTHENTICATION_FAILED : r;
}

int stream_trailer_size(const RsaKey *sender, size_t *ret)
{
    static const uint8_t any[SHA256_SIZE];
    _cleanup_(jws_draft_done) JwsDraft d = {};
    int r = stream_trailer_prepare(sender, any, any, &d);
    if (r == 0)
        *ret = d.input.size + 1 + BASE64URL_SIZE(rsa_key_size(sender));
    return r;
}
