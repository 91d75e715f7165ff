/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/relay-chain.h"

#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>

#define IDENTITY_BITS_DEFAULT 2048
#define MINUTE 60
#define HOUR 3600

static X509 *make(const char *name, EVP_PKEY *key, const char *issuer, EVP_PKEY *signer, gint64 from,
                  gint64 until, bool ca, const EVP_MD *digest)
{
    X509 *x = X509_new();
    X509_EXTENSION *basic =
        X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, ca ? "critical,CA:TRUE" : "critical,CA:FALSE");

    g_assert_true(X509_set_version(x, X509_VERSION_3) && basic);
    g_assert_true(ASN1_INTEGER_set(X509_get_serialNumber(x), 1));
    g_assert_true(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                             (const unsigned char *)name, -1, -1, 0));
    g_assert_true(X509_NAME_add_entry_by_txt(X509_get_issuer_name(x), "CN", MBSTRING_ASC,
                                             (const unsigned char *)issuer, -1, -1, 0));
    g_assert_true(X509_gmtime_adj(X509_getm_notBefore(x), (long)from));
    g_assert_true(X509_gmtime_adj(X509_getm_notAfter(x), (long)until));
    g_assert_true(X509_set_pubkey(x, key));
    g_assert_true(X509_add_ext(x, basic, -1));
    X509_EXTENSION_free(basic);
    g_assert_cmpint(X509_sign(x, signer, digest), >, 0);
    return x;
}

RelayChain *relay_chain_new(const RelayChainOptions *options)
{
    static const RelayChainOptions good = {0};
    const RelayChainOptions *o = options ? options : &good;
    unsigned bits = o->bits ? o->bits : IDENTITY_BITS_DEFAULT;
    gint64 from = o->from || o->until ? o->from : -MINUTE, until = o->from || o->until ? o->until : HOUR;
    guint8 *spki = NULL;
    RelayChain *c = g_new0(RelayChain, 1);
    EVP_PKEY *identity = EVP_RSA_gen(bits), *other = EVP_RSA_gen(IDENTITY_BITS_DEFAULT);
    int n;

    g_assert_true(identity && other);
    c->leaf_key = o->leaf_is_rsa ? EVP_RSA_gen(IDENTITY_BITS_DEFAULT) : EVP_EC_gen("P-256");
    c->certificates = sk_X509_new_null();
    sk_X509_push(c->certificates,
                 make("leaf", c->leaf_key, "identity", o->leaf_of_other_key ? other : identity, from, until,
                      o->leaf_is_ca, o->sha1 ? EVP_sha1() : EVP_sha256()));
    if (o->length != 1)
        sk_X509_push(c->certificates,
                     make("identity", identity, "identity", o->identity_not_self_signed ? other : identity,
                          -HOUR, HOUR, true, EVP_sha256()));
    for (int i = 2; i < o->length; i++)
        sk_X509_push(c->certificates, make("other", other, "other", other, -HOUR, HOUR, true, EVP_sha256()));

    n = i2d_PUBKEY(identity, &spki);
    g_assert_cmpint(n, >, 0);
    g_assert_true(EVP_Digest(spki, (size_t)n, c->pin, NULL, EVP_sha256(), NULL));
    OPENSSL_free(spki);
    c->pin_text = g_base64_encode(c->pin, sizeof(c->pin));
    g_strdelimit(g_strdelimit(c->pin_text, "+", '-'), "/", '_');
    *strchr(c->pin_text, '=') = 0;
    c->identity_key = identity;
    EVP_PKEY_free(other);
    return c;
}

void relay_chain_free(RelayChain *c)
{
    EVP_PKEY_free(c->identity_key);
    EVP_PKEY_free(c->leaf_key);
    sk_X509_pop_free(c->certificates, X509_free);
    g_free(c->pin_text);
    g_free(c);
}
