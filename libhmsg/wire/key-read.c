/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Text forms of keys: PEM, JWK, and the fingerprint that people compare. */

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/params.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/key.h"
#include "libhmsg/wire/pem.h"

#define PEM_LABEL "PUBLIC KEY"
#define FINGERPRINT_GROUPS 12u
#define FINGERPRINT_GROUP_SIZE 5u

int rsa_key_from_pem(const char *text, size_t n, RsaKey **ret)
{
    if (n > KEY_FILE_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    _cleanup_(buf_done) Buf der = BUF_MAX(SPKI_SIZE_MAX);
    int r = pem_read(text, n, PEM_LABEL, &der);
    return r == 0 ? rsa_key_from_spki(der.data, der.size, ret) : r;
}

int rsa_key_to_pem(const RsaKey *k, Buf *ret)
{
    size_t size = 0;
    const uint8_t *spki = rsa_key_spki(k, &size);
    return pem_append(ret, PEM_LABEL, spki, size);
}

/* The SPKI through OpenSSL's own encoder, so that there is one reader of keys. */
static int key_from_modulus(const Buf *modulus, RsaKey **ret)
{
    BIGNUM *n = BN_bin2bn(modulus->data, (int)modulus->size, NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *pkey = NULL;
    int r = -ENOMEM;
    if (n && builder && ctx && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_uint(builder, OSSL_PKEY_PARAM_RSA_E, 65537) == 1)
        params = OSSL_PARAM_BLD_to_param(builder);
    if (params && EVP_PKEY_fromdata_init(ctx) == 1) {
        r = HMSG_ERROR_BAD_PACKAGE;
        if (EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) == 1)
            r = rsa_key_from_evp(pkey, ret);
    }
    EVP_PKEY_free(pkey);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    BN_free(n);
    return r;
}

static int check_jwk_use(const json_t *j, bool for_signing)
{
    static const char *const private_names[] = {"d", "p", "q", "dp", "dq", "qi", "oth"};
    for (size_t i = 0; i < ELEMENTSOF(private_names); i++)
        if (json_has(j, private_names[i]))
            return HMSG_ERROR_BAD_PACKAGE;
    if (json_expect_text(j, "kty", "RSA") != 0)
        return HMSG_ERROR_BAD_PACKAGE;
    if (json_has(j, "use") && json_expect_text(j, "use", for_signing ? "sig" : "enc") != 0)
        return HMSG_ERROR_BAD_PACKAGE;
    if (json_has(j, "alg") && json_expect_text(j, "alg", for_signing ? "PS256" : "RSA-OAEP-256") != 0)
        return HMSG_ERROR_BAD_PACKAGE;
    if (!json_has(j, "key_ops"))
        return 0;
    json_t *ops = NULL;
    const json_t *op = NULL;
    size_t i = 0;
    if (json_get_array(j, "key_ops", &ops) != 0)
        return HMSG_ERROR_BAD_PACKAGE;
    json_array_foreach (ops, i, op) {
        const char *text = json_string_value(op);
        if (text && (for_signing ? strcmp(text, "verify") == 0
                                 : strcmp(text, "encrypt") == 0 || strcmp(text, "wrapKey") == 0))
            return 0;
    }
    return HMSG_ERROR_BAD_PACKAGE;
}

int rsa_key_from_jwk(const char *text, size_t n, bool for_signing, RsaKey **ret)
{
    if (n > KEY_FILE_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    _cleanup_(json_decrefp) json_t *j = NULL;
    _cleanup_(buf_done) Buf modulus = BUF_MAX(RSA_SIZE_MAX);
    int r = json_parse_object(text, n, &j);
    if (r == 0)
        r = check_jwk_use(j, for_signing);
    if (r == 0)
        r = json_expect_text(j, "e", "AQAB");
    if (r == 0)
        r = json_get_buf(j, "n", &modulus);
    if (r == HMSG_ERROR_TOO_LARGE)
        return HMSG_ERROR_BAD_PACKAGE;
    if (r != 0)
        return r;
    /* RFC 7518 section 6.3.1.1: no leading zero octet */
    if (modulus.size < RSA_BITS_MIN / 8 || modulus.data[0] == 0)
        return HMSG_ERROR_BAD_PACKAGE;
    return key_from_modulus(&modulus, ret);
}

int fingerprint_make(const RsaKey *decrypt, const RsaKey *sign, uint8_t ret[static SHA256_SIZE])
{
    size_t decrypt_size = 0, sign_size = 0;
    const uint8_t *decrypt_spki = rsa_key_spki(decrypt, &decrypt_size);
    const uint8_t *sign_spki = rsa_key_spki(sign, &sign_size);
    _cleanup_(buf_done) Buf both = BUF_MAX(2 * SPKI_SIZE_MAX);
    int r = buf_append(&both, decrypt_spki, decrypt_size);
    if (r == 0)
        r = buf_append(&both, sign_spki, sign_size);
    return r == 0 ? crypto_sha256(both.data, both.size, ret) : r;
}

void fingerprint_text(const uint8_t fingerprint[static SHA256_SIZE], char ret[static FINGERPRINT_TEXT_SIZE])
{
    uint8_t number[SHA256_SIZE];
    memcpy(number, fingerprint, sizeof(number));
    ret[FINGERPRINT_TEXT_SIZE - 1] = 0;
    /* Long division by 10^5; the remainders are the groups from the last to the first. */
    for (size_t group = FINGERPRINT_GROUPS; group-- > 0;) {
        uint32_t rest = 0;
        for (size_t i = 0; i < sizeof(number); i++) {
            rest = rest << 8 | number[i];
            number[i] = (uint8_t)(rest / 100000);
            rest %= 100000;
        }
        char *at = ret + group * (FINGERPRINT_GROUP_SIZE + 1);
        for (size_t digit = FINGERPRINT_GROUP_SIZE; digit-- > 0; rest /= 10)
            at[digit] = (char)('0' + rest % 10);
        if (group + 1 < FINGERPRINT_GROUPS)
            at[FINGERPRINT_GROUP_SIZE] = ' ';
    }
}
