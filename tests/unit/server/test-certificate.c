/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "server/certificate.h"
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

static void test_chain(void)
{
    RelayKey *key = NULL, *other = NULL;
    X509 *identity = NULL, *leaf = NULL, *second = NULL;
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
    g_assert_cmpint(EVP_PKEY_eq(X509_get0_pubkey(identity), relay_key_evp(key)), ==, 1);
    g_assert_cmpint(X509_verify(leaf, relay_key_evp(other)), !=, 1);
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
    g_test_add_func("/server/certificate/hosts", test_hosts);
    g_test_add_func("/server/tls/renewal", test_renewal);
    return g_test_run();
}
