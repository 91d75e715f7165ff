/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "server/certificate.h"
#include "server/relay-key-internal.h"
#include "server/tls.h"

#define NOW 1800000000

static int check_time(const X509 *x, int64_t now)
{
    time_t t = now;

    return X509_cmp_time(X509_get0_notBefore(x), &t) < 0 && X509_cmp_time(X509_get0_notAfter(x), &t) > 0;
}

/* What OpenSSL itself says about the chain, when it trusts the identity certificate. */
static int verify(X509 *leaf, X509 *identity, int64_t now)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();

    g_assert_cmpint(X509_STORE_add_cert(store, identity), ==, 1);
    g_assert_cmpint(X509_STORE_CTX_init(context, store, leaf, NULL), ==, 1);
    X509_STORE_CTX_set_time(context, 0, now);
    X509_STORE_CTX_set_flags(context, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
    X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_SERVER);
    (void)X509_verify_cert(context);
    int r = X509_STORE_CTX_get_error(context);
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    return r;
}

static void expect_key_of(X509 *x, const RelayKey *key)
{
    RsaKey *got = NULL;

    g_assert_cmpint(rsa_key_from_evp(X509_get0_pubkey(x), &got), ==, 0);
    g_assert_true(rsa_key_equal(got, relay_key_public(key)));
    (void)rsa_key_free(got);
}

static void test_chain(void)
{
    RelayKey *key = NULL, *other = NULL;
    X509 *identity = NULL, *leaf = NULL, *second = NULL, *stranger = NULL;
    EVP_PKEY *leaf_key = NULL, *second_key = NULL;

    g_assert_cmpint(relay_key_generate(2048, &key), ==, 0);
    g_assert_cmpint(relay_key_generate(2048, &other), ==, 0);
    g_assert_cmpint(certificate_make_identity(key, NOW, &identity), ==, 0);
    g_assert_cmpint(certificate_make_leaf(key, identity, "relay.example", NOW, &leaf, &leaf_key), ==, 0);
    g_assert_cmpint(certificate_make_leaf(key, identity, "relay.example", NOW, &second, &second_key), ==, 0);

    g_assert_cmpint(verify(leaf, identity, NOW), ==, X509_V_OK);
    g_assert_cmpint(verify(leaf, identity, NOW - CLOCK_SKEW_MAX + 1), ==, X509_V_OK);
    g_assert_cmpint(verify(leaf, identity, NOW + CERTIFICATE_LIFETIME + 1), ==, X509_V_ERR_CERT_HAS_EXPIRED);
    g_assert_true(check_time(leaf, NOW + CERTIFICATE_LIFETIME - 1));
    g_assert_cmpint(X509_self_signed(identity, 1), ==, 1);
    g_assert_cmpint(X509_check_ca(identity), ==, 1);
    g_assert_cmpint(X509_check_ca(leaf), ==, 0);
    expect_key_of(identity, key);
    g_assert_cmpint(certificate_make_identity(other, NOW, &stranger), ==, 0);
    g_assert_cmpint(X509_verify(leaf, X509_get0_pubkey(identity)), ==, 1);
    g_assert_cmpint(X509_verify(leaf, X509_get0_pubkey(stranger)), !=, 1);
    X509_free(stranger);
    g_assert_cmpint(EVP_PKEY_get_bits(leaf_key), ==, 256);
    g_assert_cmpint(X509_check_host(leaf, "relay.example", 0, 0, NULL), ==, 1);
    g_assert_cmpint(X509_check_host(leaf, "other.example", 0, 0, NULL), ==, 0);

    g_assert_cmpint(EVP_PKEY_eq(leaf_key, second_key), ==, 0);
    g_assert_cmpint(ASN1_INTEGER_cmp(X509_get0_serialNumber(leaf), X509_get0_serialNumber(second)), !=, 0);
    X509_free(identity);
    X509_free(leaf);
    X509_free(second);
    EVP_PKEY_free(leaf_key);
    EVP_PKEY_free(second_key);
    (void)relay_key_free(key);
    (void)relay_key_free(other);
}

/* A device whose signatures are not as others are. */
typedef struct Odd {
    EVP_PKEY *pkey;
    int salt; /* of what it signs */
    bool wrong;
} Odd;

static int odd_sign(void *held, const uint8_t digest[static SHA256_SIZE], Buf *ret)
{
    const Odd *o = held;
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(o->pkey, NULL);
    uint8_t signature[RSA_SIZE_MAX];
    size_t n = sizeof(signature);

    g_assert_cmpint(EVP_PKEY_sign_init(c), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PSS_PADDING), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_signature_md(c, EVP_sha256()), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_pss_saltlen(c, o->salt), ==, 1);
    g_assert_cmpint(EVP_PKEY_sign(c, signature, &n, digest, SHA256_SIZE), ==, 1);
    EVP_PKEY_CTX_free(c);
    signature[0] ^= o->wrong;
    return buf_append(ret, signature, n);
}

static int odd_unwrap(void *held, const void *wrapped, size_t n, Secret **ret)
{
    return -EIO;
}

static void odd_free(void *held)
{
    const Odd *o = held;

    EVP_PKEY_free(o->pkey);
}

static RelayKey *odd_key(Odd *o)
{
    static const KeyDriver driver = {odd_sign, odd_unwrap, odd_free};
    RsaKey *public = NULL;
    RelayKey *key = NULL;

    o->pkey = EVP_RSA_gen(2048);
    g_assert_cmpint(rsa_key_from_evp(o->pkey, &public), ==, 0);
    g_assert_cmpint(relay_key_new(&driver, o, public, public, &key), ==, 0);
    (void)rsa_key_free(public);
    return key;
}

/* The salt that older TPMs have: the certificate says so, and is good; and so is what else is signed. */
static void test_largest_salt(void)
{
    Odd o = {.salt = RSA_PSS_SALTLEN_MAX};
    RelayKey *key = odd_key(&o);
    X509 *identity = NULL, *leaf = NULL;
    EVP_PKEY *leaf_key = NULL;

    g_assert_cmpint(certificate_make_identity(key, NOW, &identity), ==, 0);
    g_assert_cmpint(certificate_make_leaf(key, identity, "relay.example", NOW, &leaf, &leaf_key), ==, 0);
    g_assert_cmpint(verify(leaf, identity, NOW), ==, X509_V_OK);
    g_assert_cmpint(relay_key_renew(key, NOW), ==, 0);
    X509_free(identity);
    X509_free(leaf);
    EVP_PKEY_free(leaf_key);
    (void)relay_key_free(key);
}

/* A wrong signature goes nowhere, nor one with a salt that nobody takes. */
static void test_broken_device(void)
{
    Odd bad[] = {{.salt = SHA256_SIZE, .wrong = true}, {.salt = 20}};

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        RelayKey *key = odd_key(&bad[i]);
        X509 *identity = NULL;

        g_assert_cmpint(certificate_make_identity(key, NOW, &identity), ==, -EIO);
        g_assert_null(identity);
        g_assert_cmpint(relay_key_renew(key, NOW), ==, -EIO);
        g_assert_null(relay_key_online(key));
        (void)relay_key_free(key);
    }
}

static void test_hosts(void)
{
    RelayKey *key = NULL;
    X509 *identity = NULL, *leaf = NULL;
    EVP_PKEY *leaf_key = NULL;

    g_assert_cmpint(relay_key_generate(2048, &key), ==, 0);
    g_assert_cmpint(certificate_make_identity(key, NOW, &identity), ==, 0);
    g_assert_cmpint(certificate_make_leaf(key, identity, "192.0.2.1", NOW, &leaf, &leaf_key), ==, 0);
    g_assert_cmpint(X509_check_ip_asc(leaf, "192.0.2.1", 0), ==, 1);
    X509_free(leaf);
    EVP_PKEY_free(leaf_key);
    leaf_key = NULL;
    g_assert_cmpint(certificate_make_leaf(key, identity, "[2001:db8::1]", NOW, &leaf, &leaf_key), ==, 0);
    g_assert_cmpint(X509_check_ip_asc(leaf, "2001:db8::1", 0), ==, 1);
    X509_free(leaf);
    EVP_PKEY_free(leaf_key);
    X509_free(identity);
    (void)relay_key_free(key);
}

/* The certificate that a new connection gets. */
static X509 *certificate_of(Tls *t)
{
    SSL *ssl = NULL;

    g_assert_cmpint(tls_accept(t, 0, &ssl), ==, 0);
    X509 *x = SSL_get_certificate(ssl);
    g_assert_cmpint(X509_up_ref(x), ==, 1);
    SSL_free(ssl);
    return x;
}

static void test_renewal(void)
{
    RelayKey *key = NULL;
    Tls *t = NULL;

    g_assert_cmpint(relay_key_generate(2048, &key), ==, 0);
    g_assert_cmpint(tls_new(key, "relay.example", NOW, &t), ==, 0);
    g_assert_cmpint(tls_renewed(t), ==, NOW);
    X509 *first = certificate_of(t);
    g_assert_cmpint(tls_renew(t, NOW + 1000), ==, 0);
    g_assert_cmpint(tls_renewed(t), ==, NOW + 1000);
    X509 *second = certificate_of(t);
    g_assert_cmpint(X509_cmp(first, second), !=, 0);
    g_assert_true(check_time(second, NOW + 1000));
    X509_free(first);
    X509_free(second);
    (void)tls_free(t);
    (void)relay_key_free(key);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/certificate/chain", test_chain);
    g_test_add_func("/server/certificate/largest-salt", test_largest_salt);
    g_test_add_func("/server/certificate/broken-device", test_broken_device);
    g_test_add_func("/server/certificate/hosts", test_hosts);
    g_test_add_func("/server/tls/renewal", test_renewal);
    return g_test_run();
}
