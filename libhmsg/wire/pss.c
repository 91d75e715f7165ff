/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/pss.h"

#include <openssl/asn1t.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "libhmsg/base/macro.h"

static X509_ALGOR *algorithm(int nid, int type, void *value)
{
    X509_ALGOR *a = X509_ALGOR_new();
    if (a && X509_ALGOR_set0(a, OBJ_nid2obj(nid), type, value) == 1)
        return a;
    X509_ALGOR_free(a);
    return NULL;
}

/* A parameter made of another structure; takes nothing over. */
static X509_ALGOR *algorithm_with(int nid, void *parameters, const ASN1_ITEM *item)
{
    ASN1_STRING *packed = parameters ? ASN1_item_pack(parameters, item, NULL) : NULL;
    X509_ALGOR *a = packed ? algorithm(nid, V_ASN1_SEQUENCE, packed) : NULL;
    if (!a)
        ASN1_STRING_free(packed);
    return a;
}

struct X509_algor_st *pss_algorithm(unsigned salt)
{
    X509_ALGOR *hash = algorithm(NID_sha256, V_ASN1_NULL, NULL), *all = NULL;
    RSA_PSS_PARAMS *p = RSA_PSS_PARAMS_new();
    if (p && hash) {
        p->maskGenAlgorithm = algorithm_with(NID_mgf1, hash, ASN1_ITEM_rptr(X509_ALGOR));
        p->hashAlgorithm = TAKE_PTR(hash);
        p->saltLength = ASN1_INTEGER_new();
        if (p->maskGenAlgorithm && p->saltLength && ASN1_INTEGER_set(p->saltLength, (long)salt) == 1)
            all = algorithm_with(NID_rsassaPss, p, ASN1_ITEM_rptr(RSA_PSS_PARAMS));
    }
    X509_ALGOR_free(hash);
    RSA_PSS_PARAMS_free(p);
    return all;
}
