/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "tests/lib/person.h"

EVP_PKEY *test_rsa_new(unsigned bits)
{
    EVP_PKEY *key = EVP_RSA_gen(bits);

    if (!key)
        g_error("no RSA key of %u bits", bits);
    return key;
}

static RsaKey *public_part(EVP_PKEY *key, char kid[static HASH_TEXT_SIZE])
{
    RsaKey *public = NULL;

    if (rsa_key_from_evp(key, &public) != 0)
        g_error("no public key");
    base64url_encode(rsa_key_thumbprint(public), KID_SIZE, kid);
    return public;
}

TestPerson *test_person_new(void)
{
    return test_person_new_of(2048);
}

TestPerson *test_person_new_of(unsigned bits)
{
    TestPerson *p = g_new0(TestPerson, 1);

    p->decrypt_private = test_rsa_new(bits);
    p->sign_private = test_rsa_new(bits);
    p->decrypt = public_part(p->decrypt_private, p->kid);
    p->sign = public_part(p->sign_private, p->skid);
    memcpy(p->kids[0], rsa_key_thumbprint(p->decrypt), KID_SIZE);
    return p;
}

void test_person_free(TestPerson *p)
{
    if (!p)
        return;
    EVP_PKEY_free(p->decrypt_private);
    EVP_PKEY_free(p->sign_private);
    (void)rsa_key_free(p->decrypt);
    (void)rsa_key_free(p->sign);
    g_free(p);
}

static char *sign(const TestPerson *p, const JwsDraft *draft)
{
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);

    if (jws_sign_rsa(draft, p->sign_private, &jws) != 0)
        g_error("a statement cannot be signed");
    return g_strdup(buf_text(&jws));
}

char *test_person_statement_after(const TestPerson *p, const char *address, uint64_t generation,
                                  const char *previous)
{
    static const RecoveryKeys none;

    return test_person_statement_with(p, address, generation, previous, &none);
}

char *test_person_statement_with(const TestPerson *p, const char *address, uint64_t generation,
                                 const char *previous, const RecoveryKeys *recovery)
{
    IdentityStatement s = {.sign = p->sign,
                           .decrypt = p->decrypt,
                           .generation = generation,
                           .has_previous = previous != NULL,
                           .recovery = *recovery,
                           .iat = clock_realtime()};
    _cleanup_(jws_draft_done) JwsDraft draft = {0};

    g_assert_cmpuint(g_strlcpy(s.address, address, sizeof(s.address)), <, sizeof(s.address));
    if (previous && crypto_sha256(previous, strlen(previous), s.previous) != 0)
        g_error("no hash");
    if (identity_statement_prepare(&s, &draft) != 0)
        g_error("no statement for %s", address);
    return sign(p, &draft);
}

char *test_person_statement_devices(const TestPerson *p, const char *address, const Devices *devices,
                                    int64_t iat)
{
    IdentityStatement s = {.sign = p->sign, .decrypt = p->decrypt, .devices = *devices, .iat = iat};
    _cleanup_(jws_draft_done) JwsDraft draft = {0};

    g_assert_cmpuint(g_strlcpy(s.address, address, sizeof(s.address)), <, sizeof(s.address));
    if (identity_statement_prepare(&s, &draft) != 0)
        g_error("no statement for %s", address);
    return sign(p, &draft);
}

char *test_person_statement(const TestPerson *p, const char *address)
{
    return test_person_statement_after(p, address, 0, NULL);
}

char *test_person_rotate(const TestPerson *from, const TestPerson *to, uint64_t generation)
{
    RotateStatement s = {.generation = generation, .iat = clock_realtime()};
    _cleanup_(jws_draft_done) JwsDraft draft = {0};

    memcpy(s.skid, rsa_key_thumbprint(from->sign), KID_SIZE);
    memcpy(s.next_skid, rsa_key_thumbprint(to->sign), KID_SIZE);
    memcpy(s.next_kid, rsa_key_thumbprint(to->decrypt), KID_SIZE);
    if (rotate_statement_prepare(&s, &draft) != 0)
        g_error("no rotation");
    return sign(from, &draft);
}

WireSession *test_session_new(const TestPerson *sender, const TestPerson *recipient, int64_t now)
{
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    WireSession *s = NULL;

    if (wire_session_new(recipient->decrypt, sender ? sender->sign : NULL, now, SESSION_LIFETIME_MAX, &s) !=
        0)
        g_error("no session");
    if (!sender)
        return s;
    if (wire_session_prepare(s, &draft) != 0 ||
        rsa_private_sign_ps256(sender->sign_private, draft.digest, &signature) != 0 ||
        wire_session_finish(s, &draft, signature.data, signature.size) != 0)
        g_error("the session's statement cannot be signed");
    return s;
}

Secret *test_person_unwrap(const TestPerson *p, const Package *package)
{
    Secret *keys = NULL;

    if (rsa_private_oaep_decrypt(p->decrypt_private, package->encrypted_key.data, package->encrypted_key.size,
                                 &keys) != 0)
        return NULL;
    return keys;
}

static void add_extension(X509 *x, int nid, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    g_assert_nonnull(e);
    g_assert_cmpint(X509_add_ext(x, e, -1), ==, 1);
    X509_EXTENSION_free(e);
}

GByteArray *test_certificate_new(EVP_PKEY *key, long from, long to, const char *usage, bool key_id)
{
    X509 *x = X509_new();
    uint8_t *der = NULL;

    g_assert_true(X509_set_version(x, 2) == 1 && X509_set_pubkey(x, key) == 1);
    g_assert_cmpint(ASN1_INTEGER_set(X509_get_serialNumber(x), 12345), ==, 1);
    g_assert_true(X509_gmtime_adj(X509_getm_notBefore(x), from) &&
                  X509_gmtime_adj(X509_getm_notAfter(x), to));
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)"Bob", -1, -1, 0);
    X509_set_issuer_name(x, name);
    if (usage)
        add_extension(x, NID_key_usage, usage);
    if (key_id)
        add_extension(x, NID_subject_key_identifier, "hash");
    g_assert_cmpint(X509_sign(x, key, EVP_sha256()), >, 0);
    int n = i2d_X509(x, &der);
    g_assert_cmpint(n, >, 0);
    GByteArray *bytes = g_byte_array_append(g_byte_array_new(), der, (guint)n);
    OPENSSL_free(der);
    X509_free(x);
    return bytes;
}
