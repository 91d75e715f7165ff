/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/cert.h"

#include <errno.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/der.h"
#include "libhmsg/wire/pem.h"

#define PEM_LABEL "CERTIFICATE"

Cert *cert_free(Cert *c)
{
    if (!c)
        return NULL;
    (void)rsa_key_free(c->key);
    buf_done(&c->issuer_serial);
    X509_free(c->x509);
    free(c);
    return NULL;
}

bool cert_is(const void *data, size_t n)
{
    const uint8_t *bytes = data;
    return (n > 0 && bytes[0] == DER_SEQUENCE) || pem_is(data, n, PEM_LABEL);
}

static int append_issuer_serial(X509 *x, Buf *ret)
{
    uint8_t *name = NULL, *serial = NULL;
    int name_size = i2d_X509_NAME(X509_get_issuer_name(x), &name);
    int serial_size = i2d_ASN1_INTEGER(X509_get0_serialNumber(x), &serial);
    int r = name_size > 0 && serial_size > 0 ? 0 : -ENOMEM;
    if (r == 0)
        r = buf_append(ret, name, (size_t)name_size);
    if (r == 0)
        r = buf_append(ret, serial, (size_t)serial_size);
    if (r == 0)
        r = der_wrap(ret, 0, DER_SEQUENCE);
    OPENSSL_free(name);
    OPENSSL_free(serial);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

static int take_key(Cert *c)
{
    EVP_PKEY *key = X509_get0_pubkey(c->x509);
    int r = key ? rsa_key_from_evp(key, &c->key) : HMSG_ERROR_BAD_PACKAGE;
    return r == HMSG_ERROR_BAD_PACKAGE ? 0 : r;
}

static int read_der(const Buf *der, Cert *c)
{
    const uint8_t *p = der->data;
    c->x509 = d2i_X509(NULL, &p, (long)der->size);
    if (!c->x509 || p != der->data + der->size)
        return HMSG_ERROR_BAD_PACKAGE;
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(c->x509);
    int size = id ? ASN1_STRING_length(id) : 0;
    if (size > (int)sizeof(c->key_id))
        return HMSG_ERROR_BAD_PACKAGE;
    if (size > 0) {
        memcpy(c->key_id, ASN1_STRING_get0_data(id), (size_t)size);
        c->key_id_size = (size_t)size;
    }
    int r = append_issuer_serial(c->x509, &c->issuer_serial);
    return r == 0 ? take_key(c) : r;
}

int cert_read(const void *data, size_t n, Cert **ret)
{
    if (n > KEY_FILE_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    _cleanup_(buf_done) Buf der = BUF_MAX(KEY_FILE_SIZE_MAX);
    _cleanup_(cert_freep) Cert *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->issuer_serial = BUF_MAX(ISSUER_SERIAL_SIZE_MAX);
    int r = pem_is(data, n, PEM_LABEL) ? pem_read(data, n, PEM_LABEL, &der) : buf_append(&der, data, n);
    if (r == 0)
        r = der.size > 0 ? read_der(&der, c) : HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        *ret = TAKE_PTR(c);
    return r;
}

const char *cert_refusal(const Cert *c, int64_t now)
{
    time_t t = (time_t)now;
    if (X509_cmp_time(X509_get0_notBefore(c->x509), &t) > 0)
        return "The certificate is not valid yet";
    if (X509_cmp_time(X509_get0_notAfter(c->x509), &t) <= 0)
        return "The certificate has expired";
    if (!c->key)
        return "The certificate has no RSA key of 2048, 3072 or 4096 bits with the exponent 65537";
    /* RFC 5280 section 4.2.1.3; all bits are set when it does not say */
    if ((X509_get_key_usage(c->x509) & KU_KEY_ENCIPHERMENT) == 0)
        return "The certificate's key is not for encryption (its key usage has no keyEncipherment)";
    return NULL;
}
