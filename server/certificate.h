/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The relay's TLS certificates (RFC 5280): the identity key's self-signed one, by whose key clients pin the
 * relay, and a short-lived leaf on P-256 that it signs. Both with RSASSA-PSS, as TPMs do. */

#include "libhmsg/wire/address.h"
#include "server/relay-key.h"

struct x509_st;     /* X509 */
struct evp_pkey_st; /* EVP_PKEY */

#define CERTIFICATE_LIFETIME (24u * 3600u)             /* of a leaf, seconds */
#define CERTIFICATE_BACKDATE CLOCK_SKEW_MAX            /* clocks of clients may be slow */
#define CERTIFICATE_IDENTITY_LIFETIME (3650ll * 86400) /* clients look at the key only */

/* now in Unix seconds. The caller frees with X509_free and EVP_PKEY_free. */
int certificate_make_identity(const RelayKey *key, int64_t now, struct x509_st **ret);
/* host: "example.org", "192.0.2.1" or "[2001:db8::1]", as in Relay. */
int certificate_make_leaf(const RelayKey *key, const struct x509_st *identity, const char *host, int64_t now,
                          struct x509_st **ret, struct evp_pkey_st **ret_key);
