/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Certificates as a relay has them, and as it must not have them. */

#include <glib.h>
#include <stdbool.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

typedef struct RelayChainOptions {
    unsigned bits;      /* of the identity key; 0: 2048 */
    gint64 from, until; /* of the leaf, seconds from now; both 0: a minute ago, in an hour */
    bool leaf_is_ca;
    bool leaf_is_rsa;
    bool leaf_of_other_key; /* not signed by the identity key */
    bool sha1;              /* the leaf's signature */
    bool identity_not_self_signed;
    int length; /* certificates; 0: 2 */
} RelayChainOptions;

typedef struct RelayChain {
    EVP_PKEY *identity_key, *leaf_key;
    STACK_OF(X509) * certificates; /* leaf first */
    guint8 pin[32];
    char *pin_text; /* base64url */
} RelayChain;

/* options NULL: a good one. */
RelayChain *relay_chain_new(const RelayChainOptions *options);
void relay_chain_free(RelayChain *c);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RelayChain, relay_chain_free)
