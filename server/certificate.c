/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "libhmsg/wire/der.h"
#include "libhmsg/wire/pss.h"
#include "server/certificate.h"

#define SERIAL_SIZE 16u /* bytes; RFC 5280 section 4.1.2.2 allows 20 */
#define IDENTITY_NAME "hmsg relay identity"
#define CERTIFICATE_SIZE_MAX 8192u /* bytes of DER */

static void x509_freep(X509 **x)
{
    X509_free(*x);
}

static int add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;
    int r;

    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, x, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    if (!extension)
        return -EIO;
    r = X509_add_ext(x, extension, -1) == 1 ? 0 : -EIO;
    X509_EXTENSION_free(extension);
    return r;
}

static int set_serial(X509 *x)
{
    uint8_t random[SERIAL_SIZE];
    BIGNUM *number;
    int r;

    r = crypto_random(random, sizeof(random));
    if (r != 0)
        return r;
    random[0] = (uint8_t)((random[0] & 0x7f) | 0x40); /* positive, and never 0 */
    number = BN_bin2bn(random, sizeof(random), NULL);
    r = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)) ? 0 : -EIO;
    BN_free(number);
    return r;
}

static int set_name(X509_NAME *name, const char *text)
{
    return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)text, -1,
                                      -1, 0) == 1
               ? 0
               : -EIO;
}

/* Version 3, serial number, times, public key. */
static int begin(EVP_PKEY *key, int64_t from, int64_t to, X509 **ret)
{
    _cleanup_(x509_freep) X509 *x = X509_new();
    int r;

    if (!x)
        return -ENOMEM;
    if (X509_set_version(x, X509_VERSION_3) != 1 || !ASN1_TIME_set(X509_getm_notBefore(x), from) ||
        !ASN1_TIME_set(X509_getm_notAfter(x), to) || X509_set_pubkey(x, key) != 1)
        return -EIO;
    r = set_serial(x);
    if (r == 0)
        *ret = TAKE_PTR(x);
    return r;
}

static int set_algorithm(X509 *x, X509_ALGOR *a)
{
    /* OpenSSL has no other way to say who signs than to have it sign */
    X509_ALGOR *place = (X509_ALGOR *)(uintptr_t)X509_get0_tbs_sigalg(x);

    return a && X509_ALGOR_copy(place, a) == 1 ? 0 : -ENOMEM;
}

/* Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue } */
static int put_together(const Buf *tbs, X509_ALGOR *a, const Buf *signature, X509 **ret)
{
    _cleanup_(buf_done) Buf der = BUF_MAX(CERTIFICATE_SIZE_MAX), bits = BUF_MAX(RSA_SIZE_MAX + 1);
    unsigned char *algorithm = NULL;
    int n = i2d_X509_ALGOR(a, &algorithm);
    int r = n > 0 ? buf_append(&der, tbs->data, tbs->size) : -ENOMEM;

    if (r == 0)
        r = buf_append(&der, algorithm, (size_t)n);
    OPENSSL_free(algorithm);
    if (r == 0)
        r = buf_append(&bits, "", 1); /* no unused bits */
    if (r == 0)
        r = buf_append(&bits, signature->data, signature->size);
    if (r == 0)
        r = der_append(&der, DER_BIT_STRING, bits.data, bits.size);
    if (r == 0)
        r = der_wrap(&der, 0, DER_SEQUENCE);
    if (r != 0)
        return r;
    const unsigned char *at = der.data;
    *ret = d2i_X509(NULL, &at, (long)der.size);
    return *ret ? 0 : -EIO;
}

/* salt: what the algorithm says of it, and what it is. */
static int sign_with(X509 *x, const RelayKey *key, unsigned *salt, X509 **ret)
{
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX), tbs = BUF_MAX(CERTIFICATE_SIZE_MAX);
    X509_ALGOR *a = pss_algorithm(*salt);
    uint8_t digest[SHA256_SIZE];
    unsigned char *der = NULL;
    const unsigned said = *salt;
    int r = set_algorithm(x, a);

    if (r == 0) {
        int n = i2d_re_X509_tbs(x, &der);

        r = n > 0 ? buf_append(&tbs, der, (size_t)n) : -EIO;
        OPENSSL_free(der);
    }
    if (r == 0)
        r = crypto_sha256(tbs.data, tbs.size, digest);
    if (r == 0)
        r = relay_key_sign(key, digest, &signature, salt);
    if (r == 0)
        r = *salt == said ? put_together(&tbs, a, &signature, ret) : -EAGAIN;
    X509_ALGOR_free(a);
    return r;
}

/* The certificate that x is, signed. Most keys take a salt of the hash's size, older TPMs the largest. */
static int sign(X509 *x, const RelayKey *key, X509 **ret)
{
    unsigned salt = SHA256_SIZE;
    int r = sign_with(x, key, &salt, ret);

    return r == -EAGAIN ? sign_with(x, key, &salt, ret) : r;
}

static EVP_PKEY *public_key(const RelayKey *key)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(relay_key_public(key), &n);

    return d2i_PUBKEY(NULL, &spki, (long)n);
}

int certificate_make_identity(const RelayKey *key, int64_t now, struct x509_st **ret)
{
    _cleanup_(x509_freep) X509 *x = NULL;
    EVP_PKEY *public = public_key(key);
    int r;

    if (!public)
        return -EIO;
    r = begin(public, now - CERTIFICATE_BACKDATE, now + CERTIFICATE_IDENTITY_LIFETIME, &x);
    EVP_PKEY_free(public);
    if (r == 0)
        r = set_name(X509_get_subject_name(x), IDENTITY_NAME);
    if (r == 0 && X509_set_issuer_name(x, X509_get_subject_name(x)) != 1)
        r = -EIO;
    if (r == 0)
        r = add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
    if (r == 0)
        r = add_extension(x, x, NID_key_usage, "critical,keyCertSign,digitalSignature");
    if (r == 0)
        r = add_extension(x, x, NID_subject_key_identifier, "hash");
    return r == 0 ? sign(x, key, ret) : r;
}

/* "DNS:example.org", "IP:192.0.2.1", "IP:2001:db8::1" */
static int add_host(X509 *x, const char *host)
{
    char text[HOST_SIZE_MAX + 16];
    struct in_addr v4;
    size_t n = strlen(host);

    if (host[0] == '[' && n > 2)
        (void)snprintf(text, sizeof(text), "IP:%.*s", (int)(n - 2), host + 1);
    else
        (void)snprintf(text, sizeof(text), "%s:%s", inet_pton(AF_INET, host, &v4) == 1 ? "IP" : "DNS", host);
    return add_extension(x, NULL, NID_subject_alt_name, text);
}

int certificate_make_leaf(const RelayKey *key, const struct x509_st *identity, const char *host, int64_t now,
                          struct x509_st **ret, struct evp_pkey_st **ret_key)
{
    X509 *issuer = (X509 *)(uintptr_t)identity; /* OpenSSL's reading functions lack const */
    _cleanup_(x509_freep) X509 *x = NULL;
    EVP_PKEY *leaf = EVP_EC_gen("P-256");
    int r;

    if (!leaf)
        return -EIO;
    r = begin(leaf, now - CERTIFICATE_BACKDATE, now + CERTIFICATE_LIFETIME, &x);
    if (r == 0 && X509_set_issuer_name(x, X509_get_subject_name(issuer)) != 1)
        r = -EIO;
    if (r == 0)
        r = set_name(X509_get_subject_name(x), "hmsg relay");
    if (r == 0)
        r = add_extension(x, issuer, NID_basic_constraints, "critical,CA:FALSE");
    if (r == 0)
        r = add_extension(x, issuer, NID_key_usage, "critical,digitalSignature");
    if (r == 0)
        r = add_extension(x, issuer, NID_ext_key_usage, "serverAuth");
    if (r == 0)
        r = add_extension(x, issuer, NID_authority_key_identifier, "keyid");
    if (r == 0)
        r = add_host(x, host);
    if (r == 0)
        r = sign(x, key, ret);
    if (r == 0)
        *ret_key = TAKE_PTR(leaf);
    EVP_PKEY_free(leaf);
    return r;
}
