/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A certificate request (PKCS#10, RFC 2986) of a sign key that somebody else holds: the TPM makes the
 * signature, RSASSA-PSS with SHA-256 (RFC 4055). Its subject is one common name and nothing else. What is
 * signed begins with a DER SEQUENCE: it cannot be taken for a JWS, which begins with a letter. */

#include "libhmsg/wire/key.h"

#define CSR_NAME_MAX 64u /* characters: ub-common-name of RFC 5280 */
#define CSR_PEM_MAX 4096u

typedef struct Csr Csr;

/* INVALID_ARGS: name is empty, too long, not UTF-8, or has control characters. */
int csr_new(const RsaKey *sign, const char *name, Csr **ret);
Csr *csr_free(Csr *c);
DEFINE_CLEANUP(Csr *, csr_free)

/* SHA-256 of what is to be signed, SHA256_SIZE bytes, owned by c. */
const uint8_t *csr_digest(const Csr *c);
/* Appends the PEM "CERTIFICATE REQUEST". AUTHENTICATION_FAILED: the signature is not one of the key. */
int csr_finish(Csr *c, const void *signature, size_t n, Buf *ret);
