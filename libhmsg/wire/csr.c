/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/csr.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/pss.h"

struct Csr {
    X509_REQ *request;
    RsaKey *sign;
    uint8_t digest[SHA256_SIZE];
};

/* TPMs take a salt of the hash's size, older ones the longest that fits (rsa_key_verify_ps256). */
static const int salts[] = {32, -1};

static bool is_name(const char *name)
{
    size_t n = strlen(name), characters = 0;
    if (n == 0 || n > CSR_NAME_MAX * 4 || !utf8_is_text(name))
        return false;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
            return false;
        characters += ((unsigned char)name[i] & 0xc0) != 0x80;
    }
    return characters <= CSR_NAME_MAX;
}

static int set_subject(X509_REQ *request, const char *name)
{
    X509_NAME *subject = X509_NAME_new();
    bool done = subject &&
                X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                           (const unsigned char *)name, -1, -1, 0) == 1 &&
                X509_REQ_set_subject_name(request, subject) == 1;
    X509_NAME_free(subject);
    return done ? 0 : -ENOMEM;
}

static int set_key(X509_REQ *request, const RsaKey *sign)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(sign, &n);
    EVP_PKEY *key = d2i_PUBKEY(NULL, &spki, (long)n);
    bool done = key && X509_REQ_set_pubkey(request, key) == 1;
    EVP_PKEY_free(key);
    return done ? 0 : -ENOMEM;
}

int csr_new(const RsaKey *sign, const char *name, Csr **ret)
{
    if (!is_name(name))
        return HMSG_ERROR_INVALID_ARGS;
    _cleanup_(csr_freep) Csr *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->sign = rsa_key_ref((RsaKey *)(uintptr_t)sign);
    c->request = X509_REQ_new();
    if (!c->request || X509_REQ_set_version(c->request, X509_REQ_VERSION_1) != 1)
        return -ENOMEM;
    int r = set_key(c->request, sign);
    if (r == 0)
        r = set_subject(c->request, name);
    if (r != 0)
        return r;
    uint8_t *info = NULL;
    int size = i2d_re_X509_REQ_tbs(c->request, &info);
    r = size > 0 ? crypto_sha256(info, (size_t)size, c->digest) : -ENOMEM;
    OPENSSL_free(info);
    if (r == 0)
        *ret = TAKE_PTR(c);
    return r;
}

Csr *csr_free(Csr *c)
{
    if (!c)
        return NULL;
    X509_REQ_free(c->request);
    rsa_key_free(c->sign);
    free(c);
    return NULL;
}

const uint8_t *csr_digest(const Csr *c)
{
    return c->digest;
}

static int set_signature(X509_REQ *request, int salt, const void *signature, size_t n)
{
    X509_ALGOR *a = pss_algorithm((unsigned)salt);
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    bool done = a && bits && ASN1_BIT_STRING_set(bits, (unsigned char *)(uintptr_t)signature, (int)n) == 1 &&
                X509_REQ_set1_signature_algo(request, a) == 1;
    X509_ALGOR_free(a);
    if (!done) {
        ASN1_BIT_STRING_free(bits);
        return -ENOMEM;
    }
    bits->flags = (bits->flags & ~7L) | ASN1_STRING_FLAG_BITS_LEFT; /* no unused bits at its end */
    X509_REQ_set0_signature(request, bits);
    return 0;
}

static int write_pem(X509_REQ *request, Buf *ret)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    int r = -ENOMEM;
    if (bio && PEM_write_bio_X509_REQ(bio, request) == 1) {
        long n = BIO_get_mem_data(bio, &text);
        r = n > 0 ? buf_append(ret, text, (size_t)n) : -ENOMEM;
    }
    BIO_free(bio);
    return r;
}

int csr_finish(Csr *c, const void *signature, size_t n, Buf *ret)
{
    int longest = (int)rsa_key_size(c->sign) - (int)SHA256_SIZE - 2;
    if (n != rsa_key_size(c->sign))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    /* the algorithm names the salt's size, which only the signature knows */
    for (size_t i = 0; i < ELEMENTSOF(salts); i++) {
        int r = set_signature(c->request, salts[i] < 0 ? longest : salts[i], signature, n);
        if (r != 0)
            return r;
        if (X509_REQ_verify(c->request, X509_REQ_get0_pubkey(c->request)) == 1)
            return write_pem(c->request, ret);
    }
    return HMSG_ERROR_AUTHENTICATION_FAILED;
}
