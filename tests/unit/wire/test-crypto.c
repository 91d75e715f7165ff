/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/crypto.h"

#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/crypto-context.h"
#include "libhmsg/wire/key.h"
#include "tests/lib/vectors.h"

/* A member of a vector in hexadecimal, freed at the end of the scope. */
typedef struct Hex {
    uint8_t *data;
    size_t size;
} Hex;

static void hex_clear(Hex *h)
{
    g_free(h->data);
}

static Hex hex(const json_t *test, const char *name)
{
    Hex h = {0};

    h.data = test_vectors_hex(test, name, &h.size);
    return h;
}

static VectorResult cbc_hs512(const json_t *group, const json_t *test, void *userdata, const char **ret_why)
{
    _cleanup_(hex_clear) Hex key = hex(test, "key"), iv = hex(test, "iv"), aad = hex(test, "aad");
    _cleanup_(hex_clear) Hex message = hex(test, "msg"), ct = hex(test, "ct"), tag = hex(test, "tag");
    _cleanup_(buf_done) Buf plain = BUF_MAX(4096), sealed = BUF_MAX(4096);
    uint8_t made[32];

    if (key.size != 64 || iv.size != 16 || tag.size != 32) {
        *ret_why = "key, iv or tag of another size than A256CBC-HS512 has";
        return VECTOR_BY_POLICY;
    }
    int r = crypto_cbc_hs512_open(key.data, iv.data, aad.data, aad.size, ct.data, ct.size, tag.data, &plain);
    if (r == HMSG_ERROR_AUTHENTICATION_FAILED) {
        g_assert_cmpuint(plain.size, ==, 0);
        return VECTOR_REFUSED;
    }
    g_assert_cmpint(r, ==, 0);
    g_assert_cmpmem(plain.data, plain.size, message.data, message.size);
    g_assert_cmpint(crypto_cbc_hs512_seal(key.data, iv.data, aad.data, aad.size, message.data, message.size,
                                          &sealed, made),
                    ==, 0);
    g_assert_cmpmem(sealed.data, sealed.size, ct.data, ct.size);
    g_assert_cmpmem(made, sizeof(made), tag.data, tag.size);
    return VECTOR_ACCEPTED;
}

static VectorResult cbc(const json_t *group, const json_t *test, void *userdata, const char **ret_why)
{
    _cleanup_(hex_clear) Hex key = hex(test, "key"), iv = hex(test, "iv");
    _cleanup_(hex_clear) Hex message = hex(test, "msg"), ct = hex(test, "ct");
    _cleanup_(buf_done) Buf plain = BUF_MAX(4096), sealed = BUF_MAX(4096);

    if (key.size != 32) {
        *ret_why = "AES-128 or AES-192";
        return VECTOR_BY_POLICY;
    }
    int r = crypto_cbc_decrypt(key.data, iv.data, ct.data, ct.size, &plain);
    if (r == HMSG_ERROR_AUTHENTICATION_FAILED) {
        g_assert_cmpuint(plain.size, ==, 0);
        return VECTOR_REFUSED;
    }
    g_assert_cmpint(r, ==, 0);
    g_assert_cmpmem(plain.data, plain.size, message.data, message.size);
    g_assert_cmpint(crypto_cbc_encrypt(key.data, iv.data, message.data, message.size, &sealed), ==, 0);
    g_assert_cmpmem(sealed.data, sealed.size, ct.data, ct.size);
    return VECTOR_ACCEPTED;
}

static VectorResult gcm(const json_t *group, const json_t *test, void *userdata, const char **ret_why)
{
    _cleanup_(hex_clear) Hex key = hex(test, "key"), iv = hex(test, "iv"), aad = hex(test, "aad");
    _cleanup_(hex_clear) Hex message = hex(test, "msg"), ct = hex(test, "ct"), tag = hex(test, "tag");

    if (key.size != 32 || iv.size != 12 || tag.size != 16) {
        *ret_why = "AES-128 or AES-192, or an iv or tag of another size than A256GCM has";
        return VECTOR_BY_POLICY;
    }
    g_autofree uint8_t *sealed = g_malloc0(ct.size + tag.size + 1), *plain = g_malloc0(ct.size + 1);
    memcpy(sealed, ct.data, ct.size);
    memcpy(sealed + ct.size, tag.data, tag.size);
    int r = crypto_gcm_open(key.data, iv.data, aad.data, aad.size, sealed, ct.size + 16, plain);
    if (r == HMSG_ERROR_AUTHENTICATION_FAILED)
        return VECTOR_REFUSED;
    g_assert_cmpint(r, ==, 0);
    g_assert_cmpmem(plain, ct.size, message.data, message.size);
    g_assert_cmpint(
        crypto_gcm_seal(key.data, iv.data, aad.data, aad.size, message.data, message.size, sealed), ==, 0);
    g_assert_cmpmem(sealed, ct.size, ct.data, ct.size);
    g_assert_cmpmem(sealed + ct.size, 16, tag.data, 16);
    if (aad.size == 0) {
        _cleanup_(gcm_freep) Gcm *g = NULL;

        g_assert_cmpint(gcm_new(key.data, false, &g), ==, 0);
        memset(plain, 0, ct.size);
        g_assert_cmpint(gcm_open(g, iv.data, sealed, ct.size + 16, plain), ==, 0);
        g_assert_cmpmem(plain, ct.size, message.data, message.size);
    }
    return VECTOR_ACCEPTED;
}

typedef int (*hkdf_t)(const void *key, size_t key_size, const void *salt, size_t salt_size, const void *info,
                      size_t info_size, void *ret, size_t size);

static VectorResult hkdf(const json_t *group, const json_t *test, void *userdata, const char **ret_why)
{
    const hkdf_t f = *(const hkdf_t *)userdata;
    _cleanup_(hex_clear) Hex ikm = hex(test, "ikm"), salt = hex(test, "salt"), info = hex(test, "info");
    _cleanup_(hex_clear) Hex okm = hex(test, "okm");
    size_t size = (size_t)json_integer_value(json_object_get(test, "size"));
    g_autofree uint8_t *out = g_malloc0(size + 1);

    if (f(ikm.data, ikm.size, salt.data, salt.size, info.data, info.size, out, size) != 0)
        return VECTOR_REFUSED;
    g_assert_cmpmem(out, size, okm.data, okm.size);
    return VECTOR_ACCEPTED;
}

static VectorResult hmac(const json_t *group, const json_t *test, void *userdata, const char **ret_why)
{
    bool long_hash = *(const bool *)userdata;
    _cleanup_(hex_clear) Hex key = hex(test, "key"), message = hex(test, "msg"), tag = hex(test, "tag");
    const Chunk chunks[] = {{message.data, message.size / 2},
                            {message.data + message.size / 2, message.size - message.size / 2}};
    uint8_t out[SHA512_SIZE];
    int r = long_hash ? crypto_hmac_sha512(key.data, key.size, chunks, 2, out)
                      : crypto_hmac_sha256(key.data, key.size, chunks, 2, out);

    g_assert_cmpint(r, ==, 0);
    return bytes_equal(out, tag.data, tag.size) ? VECTOR_ACCEPTED : VECTOR_REFUSED;
}

static VectorResult pss(const json_t *group, const json_t *test, void *userdata, const char **ret_why)
{
    _cleanup_(hex_clear) Hex message = hex(test, "msg"), signature = hex(test, "sig"),
                             der = hex(group, "publicKeyDer");
    _cleanup_(rsa_key_freep) RsaKey *key = NULL;
    uint8_t digest[SHA256_SIZE];

    g_assert_cmpint(rsa_key_from_spki(der.data, der.size, &key), ==, 0);
    g_assert_cmpint(crypto_sha256(message.data, message.size, digest), ==, 0);
    int r = rsa_key_verify_ps256(key, digest, signature.data, signature.size);
    g_assert_true(r == 0 || r == HMSG_ERROR_AUTHENTICATION_FAILED);
    /* the largest salt, which older TPMs make: the one deviation from the file's parameters that we take */
    if (strcmp(test_vectors_text(test, "comment"), "s_len changed to 222") == 0) {
        g_assert_cmpint(r, ==, 0);
        *ret_why = "accepted with the largest salt, which older TPMs make";
        return VECTOR_BY_POLICY;
    }
    return r == 0 ? VECTOR_ACCEPTED : VECTOR_REFUSED;
}

/* A salt of size 0 is none of ours, however right the signature. */
static VectorResult pss_without_salt(const json_t *group, const json_t *test, void *userdata,
                                     const char **ret_why)
{
    const char *comment = test_vectors_text(test, "comment");

    /* salts of our two sizes, which for this file are the wrong ones */
    if (strcmp(comment, "s_len changed to 32") == 0 || strcmp(comment, "s_len changed to 222") == 0) {
        *ret_why = "accepted with a salt of ours, which is another than the file's";
        return VECTOR_BY_POLICY;
    }
    g_assert_cmpint(pss(group, test, userdata, ret_why), ==, VECTOR_REFUSED);
    if (strcmp(test_vectors_text(test, "result"), "valid") != 0)
        return VECTOR_REFUSED;
    *ret_why = "refused for its salt of size 0";
    return VECTOR_BY_POLICY;
}

static void test_cbc_hs512(void)
{
    test_vectors_run("wycheproof/a256cbc_hs512_test.json", cbc_hs512, NULL);
}

static void test_cbc(void)
{
    test_vectors_run("wycheproof/aes_cbc_pkcs5_test.json", cbc, NULL);
}

static void test_gcm(void)
{
    test_vectors_run("wycheproof/aes_gcm_test.json", gcm, NULL);
}

static void test_hkdf_sha256(void)
{
    hkdf_t f = crypto_hkdf_sha256;

    test_vectors_run("wycheproof/hkdf_sha256_test.json", hkdf, &f);
}

static void test_hkdf_sha512(void)
{
    hkdf_t f = crypto_hkdf_sha512;

    test_vectors_run("wycheproof/hkdf_sha512_test.json", hkdf, &f);
}

static void test_hmac_sha256(void)
{
    bool long_hash = false;

    test_vectors_run("wycheproof/hmac_sha256_test.json", hmac, &long_hash);
}

static void test_hmac_sha512(void)
{
    bool long_hash = true;

    test_vectors_run("wycheproof/hmac_sha512_test.json", hmac, &long_hash);
}

static void test_pss(void)
{
    test_vectors_run("wycheproof/rsa_pss_2048_sha256_mgf1_32_test.json", pss, NULL);
}

static void test_pss_without_salt(void)
{
    test_vectors_run("wycheproof/rsa_pss_2048_sha256_mgf1_0_test.json", pss_without_salt, NULL);
}

static void test_sha256(void)
{
    static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                  0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                  0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    _cleanup_(sha256_freep) Sha256 *h = NULL;
    uint8_t out[SHA256_SIZE];

    g_assert_cmpint(crypto_sha256("abc", 3, out), ==, 0);
    g_assert_cmpmem(out, sizeof(out), abc, sizeof(abc));
    g_assert_cmpint(sha256_new(&h), ==, 0);
    for (int round = 0; round < 2; round++) {
        g_assert_cmpint(sha256_update(h, "a", 1), ==, 0);
        g_assert_cmpint(sha256_update(h, "bc", 2), ==, 0);
        g_assert_cmpint(sha256_final(h, out), ==, 0);
        g_assert_cmpmem(out, sizeof(out), abc, sizeof(abc));
    }
}

static void test_x25519(void)
{
    static const uint8_t zero[X25519_SIZE];
    _cleanup_(secret_freep) Secret *a = NULL, *b = NULL, *ab = NULL, *ba = NULL, *none = NULL;
    uint8_t a_public[X25519_SIZE], b_public[X25519_SIZE];

    g_assert_cmpint(x25519_generate(&a, a_public), ==, 0);
    g_assert_cmpint(x25519_generate(&b, b_public), ==, 0);
    g_assert_cmpint(x25519_derive(a, b_public, &ab), ==, 0);
    g_assert_cmpint(x25519_derive(b, a_public, &ba), ==, 0);
    g_assert_true(secret_equal(ab, ba));
    g_assert_cmpint(x25519_derive(a, zero, &none), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
}

static gpointer other_thread(gpointer data)
{
    g_assert_true(crypto_context() != data);
    return NULL;
}

static void test_context(void)
{
    CryptoContext *c = crypto_context();

    g_assert_nonnull(c);
    g_assert_true(crypto_context() == c);
    g_thread_join(g_thread_new("other", other_thread, c));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/crypto/sha256", test_sha256);
    g_test_add_func("/crypto/x25519", test_x25519);
    g_test_add_func("/crypto/context", test_context);
    g_test_add_func("/crypto/wycheproof/a256cbc-hs512", test_cbc_hs512);
    g_test_add_func("/crypto/wycheproof/aes-cbc-pkcs5", test_cbc);
    g_test_add_func("/crypto/wycheproof/aes-gcm", test_gcm);
    g_test_add_func("/crypto/wycheproof/hkdf-sha256", test_hkdf_sha256);
    g_test_add_func("/crypto/wycheproof/hkdf-sha512", test_hkdf_sha512);
    g_test_add_func("/crypto/wycheproof/hmac-sha256", test_hmac_sha256);
    g_test_add_func("/crypto/wycheproof/hmac-sha512", test_hmac_sha512);
    g_test_add_func("/crypto/wycheproof/rsa-pss", test_pss);
    g_test_add_func("/crypto/wycheproof/rsa-pss-without-salt", test_pss_without_salt);
    return g_test_run();
}
