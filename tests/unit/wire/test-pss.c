/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "libhmsg/wire/pss.h"

/* As OpenSSL itself writes it when it signs with such a salt. */
static void test_same(void)
{
    static const unsigned salts[] = {32, 222};
    EVP_PKEY *key = EVP_RSA_gen(2048);

    for (size_t i = 0; i < G_N_ELEMENTS(salts); i++) {
        X509_ALGOR *a = pss_algorithm(salts[i]);
        EVP_MD_CTX *c = EVP_MD_CTX_new();
        EVP_PKEY_CTX *p = NULL;
        X509 *x = X509_new();
        unsigned char *ours = NULL, *theirs = NULL;

        g_assert_cmpint(EVP_DigestSignInit(c, &p, EVP_sha256(), NULL, key), ==, 1);
        g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(p, RSA_PKCS1_PSS_PADDING), ==, 1);
        g_assert_cmpint(EVP_PKEY_CTX_set_rsa_pss_saltlen(p, (int)salts[i]), ==, 1);
        g_assert_nonnull(ASN1_TIME_set(X509_getm_notBefore(x), 0));
        g_assert_nonnull(ASN1_TIME_set(X509_getm_notAfter(x), 1));
        g_assert_cmpint(X509_set_pubkey(x, key), ==, 1);
        g_assert_cmpint(X509_sign_ctx(x, c), >, 0);
        int n = i2d_X509_ALGOR(a, &ours), m = i2d_X509_ALGOR(X509_get0_tbs_sigalg(x), &theirs);
        g_assert_cmpmem(ours, n, theirs, m);
        OPENSSL_free(ours);
        OPENSSL_free(theirs);
        X509_free(x);
        X509_ALGOR_free(a);
        EVP_MD_CTX_free(c);
    }
    EVP_PKEY_free(key);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wire/pss/same", test_same);
    return g_test_run();
}
