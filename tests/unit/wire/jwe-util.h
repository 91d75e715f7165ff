/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the tests of JWE that are no packages share: some written by hand, and all stages of reading. */

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/jwe-message.h"
#include "tests/lib/person.h"

#define TEXT "Dear Bob, here are the plans."
#define HEADER "{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256CBC-HS512\"}"
#define GCM_HEADER "{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\",\"cty\":\"text/plain\",\"x\":[1]}"

/* Keys take long to make: all tests have the same. */
typedef struct People {
    TestPerson *alice, *bob, *carol;
} People;

static inline char *encoded(const void *data, size_t n)
{
    char *text = g_malloc(BASE64URL_SIZE(n) + 1);

    base64url_encode(data, n, text);
    return text;
}

/* The parts of a JWE as texts, to be put together in whatever way. */
typedef struct Parts {
    char *protected_text, *key, *iv, *ciphertext, *tag;
} Parts;

static inline void parts_clear(Parts *p)
{
    g_free(p->protected_text);
    g_free(p->key);
    g_free(p->iv);
    g_free(p->ciphertext);
    g_free(p->tag);
}

/* As another program would: TEXT to one recipient. aad: base64url, or NULL. */
static inline void parts_make(Parts *p, const RsaKey *to, const char *header, const char *aad,
                              size_t key_size)
{
    _cleanup_(buf_done) Buf ek = BUF_MAX(RSA_SIZE_MAX), ciphertext = BUF_MAX(1024);
    bool gcm = strstr(header, "GCM") != NULL;
    uint8_t key[64] = {1, 2, 3}, iv[16] = {4, 5, 6}, tag[32], out[1024];

    p->protected_text = encoded(header, strlen(header));
    g_autofree char *all = g_strconcat(p->protected_text, aad ? "." : NULL, aad, NULL);
    g_assert_cmpint(rsa_key_oaep_encrypt(to, key, key_size, &ek), ==, 0);
    if (gcm) {
        g_assert_cmpint(crypto_gcm_seal(key, iv, all, strlen(all), TEXT, strlen(TEXT), out), ==, 0);
        g_assert_cmpint(buf_append(&ciphertext, out, strlen(TEXT)), ==, 0);
        memcpy(tag, out + strlen(TEXT), 16);
    } else {
        g_assert_cmpint(
            crypto_cbc_hs512_seal(key, iv, all, strlen(all), TEXT, strlen(TEXT), &ciphertext, tag), ==, 0);
    }
    p->key = encoded(ek.data, ek.size);
    p->iv = encoded(iv, gcm ? 12 : 16);
    p->ciphertext = encoded(ciphertext.data, ciphertext.size);
    p->tag = encoded(tag, gcm ? 16 : 32);
}

static inline char *compact(const RsaKey *to, const char *header)
{
    Parts p;

    parts_make(&p, to, header, NULL, strstr(header, "GCM") ? 32 : 64);
    char *text = g_strdup_printf("%s.%s.%s.%s.%s", p.protected_text, p.key, p.iv, p.ciphertext, p.tag);
    parts_clear(&p);
    return text;
}

/* before: members that come first, each with a comma behind. */
static inline char *flattened(const RsaKey *to, const char *header, const char *before, const char *aad)
{
    Parts p;

    parts_make(&p, to, header, aad, strstr(header, "GCM") ? 32 : 64);
    char *text = g_strdup_printf(
        "{%s\"protected\":\"%s\",\"encrypted_key\":\"%s\",\"iv\":\"%s\",\"ciphertext\":\"%s\","
        "\"tag\":\"%s\"}",
        before, p.protected_text, p.key, p.iv, p.ciphertext, p.tag);
    parts_clear(&p);
    return text;
}

/* %s in recipients stands for the encrypted key. */
static inline char *general(const RsaKey *to, const char *header, const char *recipients)
{
    Parts p;

    parts_make(&p, to, header, NULL, 64);
    g_autoptr(GString) list = g_string_new(recipients);
    g_string_replace(list, "%s", p.key, 0);
    char *text =
        g_strdup_printf("{\"protected\":\"%s\",\"recipients\":[%s],\"iv\":\"%s\",\"ciphertext\":\"%s\","
                        "\"tag\":\"%s\"}",
                        p.protected_text, list->str, p.iv, p.ciphertext, p.tag);
    parts_clear(&p);
    return text;
}

static inline int parse(const char *text, const TestPerson *p, Jwe **ret, const char **ret_why)
{
    g_assert_cmpint(wire_format_detect(text, strlen(text)), ==, FORMAT_JWE);
    return jwe_parse(text, strlen(text), p->kids, 1, ret, ret_why);
}

/* All stages, with the key of p; 0: TEXT. */
static inline int open_all(const char *text, const TestPerson *p, bool *ret_signed)
{
    _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    _cleanup_(secret_freep) Secret *key = NULL;
    _cleanup_(jwe_freep) Jwe *j = NULL;
    const char *why = NULL;
    int r = parse(text, p, &j, &why);

    if (r != 0)
        return r;
    g_assert_cmpint(jwe_open(j, NULL, &out), ==, -EPERM);
    r = jwe_check_sender(j);
    if (r != 0)
        return r;
    (void)rsa_private_oaep_decrypt(p->decrypt_private, j->encrypted_key.data, j->encrypted_key.size, &key);
    r = jwe_open(j, key, &out);
    g_assert_cmpuint(out.size, ==, r == 0 ? strlen(TEXT) : 0);
    if (r == 0)
        g_assert_cmpstr(buf_text(&out), ==, TEXT);
    if (ret_signed)
        *ret_signed = j->has_sender;
    return r;
}

static inline void expect(int expected, const char *text, const TestPerson *p)
{
    int r = open_all(text, p, NULL);

    if (r != expected)
        g_error("%d in place of %d: %s", r, expected, text);
}

/* That why begins with words. */
static inline void expect_why(const char *words, const char *text, const TestPerson *p)
{
    _cleanup_(jwe_freep) Jwe *j = NULL;
    const char *why = NULL;
    int r = parse(text, p, &j, &why);

    if (r != HMSG_ERROR_BAD_PACKAGE || !why || !g_str_has_prefix(why, words))
        g_error("%d (%s) in place of \"%s\": %s", r, why, words, text);
}
