/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* X.509 certificates (RFC 5280) as a way to carry an RSA key. No chain is built and no issuer trusted: who
 * names a certificate as a recipient vouches for it, and of a signer's the key alone counts. */

#include "libhmsg/wire/key.h"

#define CERT_KEY_ID_MAX 64u /* bytes of a subject key identifier */

typedef struct Cert {
    RsaKey *key;       /* NULL: none that the protocol allows */
    Buf issuer_serial; /* DER IssuerAndSerialNumber (RFC 5652 section 10.2.4) */
    uint8_t key_id[CERT_KEY_ID_MAX];
    size_t key_id_size; /* 0: it has no subject key identifier */
    struct x509_st *x509;
} Cert;

/* One certificate, in DER or as a PEM block. HMSG_ERROR_BAD_PACKAGE, TOO_LARGE. */
int cert_read(const void *data, size_t n, Cert **ret);
/* Does data look like one? */
bool cert_is(const void *data, size_t n);
Cert *cert_free(Cert *c);
DEFINE_CLEANUP(Cert *, cert_free)

/* Why nothing may be encrypted to it at this time, as a sentence for people; NULL: it may. */
const char *cert_refusal(const Cert *c, int64_t now);
