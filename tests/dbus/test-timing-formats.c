/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The time of the answer does not tell why JWE, CMS or the seed form do not open, as other programs write
 * them: without a session, so that each asks the TPM. */

#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/wire/cms.h"
#include "libhmsg/wire/crypto.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/seed.h"
#include "tests/dbus/timing.h"

#define SIZE 50u /* of the content */
#define BLOCK 16u
#define KEY_SIZE_MAX 64u

enum { LENGTH, OAEP, TAG, PADDING, EARLY, KINDS, GOOD = KINDS };
_Static_assert(KINDS <= TIMING_KINDS_MAX, "all are measured");

static const char *const names[] = {"OAEP of one byte less", "OAEP", "tag", "padding", "early end"};

/* What the answer has to be; NULL: the content. */
static const char *expected(int kind)
{
    return kind == GOOD ? NULL : ERROR("AuthenticationFailed");
}

/* A key, encrypted as the kind wants it. */
static void wrap(const Timing *t, int kind, const uint8_t *key, size_t n, Buf *ret)
{
    g_assert_cmpint(rsa_key_oaep_encrypt(t->recipient, key, kind == LENGTH ? n - 1 : n, ret), ==, 0);
    if (kind != OAEP)
        return;
    g_assert_cmpint(crypto_random(ret->data, ret->size), ==, 0);
    ret->data[0] = 0; /* below the modulus */
}

/* Content; or blocks that end like no padding, which one time in some hundred needs another try. */
static void encrypt_cbc(int kind, const uint8_t *key, const uint8_t *iv, Buf *ret)
{
    static const uint8_t content[SIZE];
    int r = 0;

    g_assert_cmpint(crypto_cbc_encrypt(key, iv, content, sizeof(content), ret), ==, 0);
    while (kind == PADDING && r == 0) {
        _cleanup_(buf_done) Buf plain = BUF_MAX(2 * SIZE);

        g_assert_cmpint(crypto_random(ret->data, ret->size), ==, 0);
        r = crypto_cbc_decrypt(key, iv, ret->data, ret->size, &plain);
    }
}

static void tag_cbc(const uint8_t *key, const char *aad, const uint8_t *iv, const Buf *ciphertext,
                    uint8_t ret[static 32])
{
    uint8_t bits[8] = {0}, mac[SHA512_SIZE];
    size_t n = strlen(aad);

    bits[6] = (uint8_t)(n * 8 >> 8);
    bits[7] = (uint8_t)(n * 8);
    const Chunk chunks[] = {
        {aad, n}, {iv, BLOCK}, {ciphertext->data, ciphertext->size}, {bits, sizeof(bits)}};
    g_assert_cmpint(crypto_hmac_sha512(key, 32, chunks, G_N_ELEMENTS(chunks), mac), ==, 0);
    memcpy(ret, mac, 32);
}

static void part(Buf *ret, const void *data, size_t n)
{
    if (ret->size > 0)
        g_assert_cmpint(buf_append_string(ret, "."), ==, 0);
    g_assert_cmpint(base64url_append(ret, data, n), ==, 0);
}

/* compact, by the names of RFC 7516 */
static double sample_jwe(const Timing *t, int kind, bool gcm)
{
    const char *header = gcm ? "{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\"}"
                             : "{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256CBC-HS512\"}";
    _cleanup_(buf_done) Buf text = BUF_MAX(4096), encrypted_key = BUF_MAX(RSA_SIZE_MAX),
                            ciphertext = BUF_MAX(2 * SIZE);
    uint8_t key[KEY_SIZE_MAX], iv[BLOCK], tag[32], sealed[SIZE + BLOCK];
    static const uint8_t content[SIZE];

    g_assert_cmpint(crypto_random(key, sizeof(key)), ==, 0);
    g_assert_cmpint(crypto_random(iv, sizeof(iv)), ==, 0);
    wrap(t, kind, key, gcm ? 32 : 64, &encrypted_key);
    part(&text, header, strlen(header));
    if (gcm) {
        g_assert_cmpint(crypto_gcm_seal(key, iv, text.data, text.size, content, SIZE, sealed), ==, 0);
        g_assert_cmpint(buf_append(&ciphertext, sealed, SIZE), ==, 0);
        memcpy(tag, sealed + SIZE, BLOCK);
    } else {
        encrypt_cbc(kind, key + 32, iv, &ciphertext);
        tag_cbc(key, buf_text(&text), iv, &ciphertext, tag);
    }
    if (kind == TAG)
        g_assert_cmpint(crypto_random(tag, sizeof(tag)), ==, 0);
    part(&text, encrypted_key.data, encrypted_key.size);
    part(&text, iv, gcm ? 12 : BLOCK);
    part(&text, ciphertext.data, ciphertext.size);
    part(&text, tag, gcm ? BLOCK : sizeof(tag));
    /* nobody has signed it: refused before the TPM, unless allowed */
    return kind == EARLY ? timing_ask(t, text.data, text.size, NULL, ERROR("Untrusted"))
                         : timing_ask(t, text.data, text.size, "allow_unknown", expected(kind));
}

static double sample_jwe_gcm(void *context, int kind)
{
    return sample_jwe(context, kind, true);
}

static double sample_jwe_cbc(void *context, int kind)
{
    return sample_jwe(context, kind, false);
}

static double sample_cms(void *context, int kind)
{
    const Timing *t = context;
    const CmsRecipient to = {.key = t->recipient};
    static const uint8_t content[SIZE];
    _cleanup_(buf_done) Buf der = BUF_MAX(4096), encrypted_key = BUF_MAX(RSA_SIZE_MAX);
    _cleanup_(cms_freep) Cms *c = NULL;
    const char *why = NULL;
    uint8_t key[32];

    g_assert_cmpint(cms_build(&to, 1, content, SIZE, false, &der), ==, 0);
    g_assert_cmpint(cms_parse(der.data, der.size, &c, &why), ==, 0);
    if (kind == LENGTH || kind == OAEP) {
        g_assert_cmpint(crypto_random(key, sizeof(key)), ==, 0);
        wrap(t, kind, key, sizeof(key), &encrypted_key);
        g_assert_cmpuint(encrypted_key.size, ==, c->recipients[0].encrypted_key.size);
        memcpy(der.data + (c->recipients[0].encrypted_key.data - c->der.data), encrypted_key.data,
               encrypted_key.size);
    }
    if (kind == TAG)
        g_assert_cmpint(crypto_random(der.data + (c->tag.data - c->der.data), c->tag.size), ==, 0);
    return kind == EARLY ? timing_ask(t, der.data, der.size, NULL, ERROR("Untrusted"))
                         : timing_ask(t, der.data, der.size, "allow_unknown", expected(kind));
}

static void set_member(json_t *seed, const char *name, const void *data, size_t n)
{
    g_autofree char *text = g_base64_encode(data, n);

    g_assert_cmpint(json_object_set_new(seed, name, json_string(text)), ==, 0);
}

static double sample_seed(void *context, int kind)
{
    static const char label[] = "hmsg seed mac";
    const Timing *t = context;
    _cleanup_(buf_done) Buf encrypted_key = BUF_MAX(RSA_SIZE_MAX), ciphertext = BUF_MAX(2 * SIZE);
    _cleanup_(json_decrefp) json_t *seed = json_object();
    uint8_t key[32], iv[BLOCK], mac_key[32], mac[SHA256_SIZE];
    size_t spki_size = 0;
    const uint8_t *spki = rsa_key_spki(t->recipient, &spki_size);

    g_assert_cmpint(crypto_random(key, sizeof(key)), ==, 0);
    g_assert_cmpint(crypto_random(iv, sizeof(iv)), ==, 0);
    wrap(t, kind, key, sizeof(key), &encrypted_key);
    encrypt_cbc(kind, key, iv, &ciphertext);
    g_assert_cmpint(
        crypto_hkdf_sha256(key, sizeof(key), NULL, 0, label, strlen(label), mac_key, sizeof(mac_key)), ==, 0);
    const Chunk chunks[] = {{iv, sizeof(iv)}, {ciphertext.data, ciphertext.size}};
    g_assert_cmpint(crypto_hmac_sha256(mac_key, sizeof(mac_key), chunks, G_N_ELEMENTS(chunks), mac), ==, 0);
    if (kind == TAG)
        g_assert_cmpint(crypto_random(mac, sizeof(mac)), ==, 0);
    set_member(seed, "sender_public_key", spki, spki_size);
    set_member(seed, "encrypted_aes_key", encrypted_key.data, encrypted_key.size);
    set_member(seed, "iv", iv, sizeof(iv));
    set_member(seed, "ciphertext", ciphertext.data, ciphertext.size);
    set_member(seed, "hmac", mac, sizeof(mac));
    char *text = json_dumps(seed, JSON_COMPACT);
    double taken = kind == EARLY ? timing_ask(t, text, strlen(text), NULL, ERROR("Untrusted"))
                                 : timing_ask(t, text, strlen(text), "allow_unauthenticated", expected(kind));
    free(text);
    return taken;
}

typedef struct Case {
    const char *path;
    double (*sample)(void *context, int kind);
    int kinds[KINDS];
    size_t n_kinds;
} Case;

static const Case cases[] = {
    {"/dbus/timing-formats/jwe-cbc", sample_jwe_cbc, {LENGTH, OAEP, TAG, PADDING, EARLY}, 5},
    {"/dbus/timing-formats/jwe-gcm", sample_jwe_gcm, {LENGTH, OAEP, TAG, EARLY}, 4},
    {"/dbus/timing-formats/cms", sample_cms, {LENGTH, OAEP, TAG, EARLY}, 4},
    {"/dbus/timing-formats/seed", sample_seed, {LENGTH, OAEP, TAG, PADDING, EARLY}, 5},
};

static void test_format(TestAgent *a, gconstpointer data)
{
    const Case *c = data;
    Timing t;

    timing_begin(&t, a, NULL, names, TIMING_FIRST_SAMPLES);
    (void)c->sample(&t, GOOD); /* it is the failure alone that is wrong with the others */
    timing_expect_same(&t, c->kinds, c->n_kinds, TIMING_FIRST_SAMPLES, c->sample, &t);
    timing_end(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        g_test_add(cases[i].path, TestAgent, &cases[i], agent_set_up, test_format, agent_tear_down);
    return g_test_run();
}
