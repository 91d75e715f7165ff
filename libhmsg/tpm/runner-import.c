/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys from outside. They go to the TPM encrypted for its storage key, so that nobody on the way sees one:
 * TPM2_LoadExternal would take them in clear. */

#include <string.h>
#include <tss2/tss2_mu.h>

#include "libhmsg/tpm/runner-internal.h"

#define PRIME_SIZE (TPM_RSA_SIZE / 2)

/* With the storage key's Name, which is pinned, its public area cannot be another one. */
static TSS2_RC read_parent(Link *l, TPM2B_PUBLIC **ret)
{
    TPM2B_PUBLIC *public = NULL;
    uint8_t name[TPM_NAME_SIZE];
    TSS2_RC rc = Esys_ReadPublic(l->esys, l->srk, NO_SESSION, &public, NULL, NULL);

    if (rc != TSS2_RC_SUCCESS)
        return rc;
    if (!tpm_template_is_srk(public) || tpm_public_name(public, name) < 0 ||
        memcmp(name, l->srk_name, TPM_NAME_SIZE) != 0) { /* public */
        Esys_Free(public);
        return TSS2_ESYS_RC_MALFORMED_RESPONSE;
    }
    *ret = public;
    return rc;
}

static uint8_t *append_sized(uint8_t *p, const void *data, size_t n)
{
    p[0] = (uint8_t)(n >> 8);
    p[1] = (uint8_t)n;
    if (n > 0)
        memcpy(p + 2, data, n);
    return p + 2 + n;
}

/* TPM2B_SENSITIVE: type, authValue, seedValue, sensitive. It is written out here, for the TSS would leave
 * copies. */
static int make_sensitive(const Secret *prime, const Secret *auth, Secret **ret)
{
    size_t auth_size = auth ? secret_size(auth) : 0, size = 2 + 2 + auth_size + 2 + 2 + PRIME_SIZE;
    int r = secret_new(2 + size, ret);

    if (r < 0)
        return r;
    uint8_t *p = secret_data(*ret);
    p[0] = (uint8_t)(size >> 8);
    p[1] = (uint8_t)size;
    p[2] = TPM2_ALG_RSA >> 8;
    p[3] = TPM2_ALG_RSA & 0xff;
    p = append_sized(p + 4, auth ? secret_bytes(auth) : NULL, auth_size);
    p = append_sized(p, NULL, 0);
    (void)append_sized(p, secret_bytes(prime), PRIME_SIZE);
    return 0;
}

static TSS2_RC keep(Work *w, const TPM2B_PUBLIC *public, const TPM2B_PRIVATE *private, TpmKeyFile **ret)
{
    uint8_t a[sizeof(TPM2B_PUBLIC)], b[sizeof(TPM2B_PRIVATE)];
    size_t a_size = 0, b_size = 0;

    return Tss2_MU_TPM2B_PUBLIC_Marshal(public, a, sizeof(a), &a_size) == TSS2_RC_SUCCESS &&
                   Tss2_MU_TPM2B_PRIVATE_Marshal(private, b, sizeof(b), &b_size) == TSS2_RC_SUCCESS &&
                   tpm_keyfile_from_blobs(a, a_size, b, b_size, w->auth != NULL, w->bound ? &w->policy : NULL,
                                          ret) == 0
               ? TSS2_RC_SUCCESS
               : TSS2_ESYS_RC_MALFORMED_RESPONSE;
}

static int prepare(Work *w, TpmKeyUse use, const TpmPrivateKey *key, const TPM2B_PUBLIC *parent,
                   TPM2B_PUBLIC *ret, TPM2B_PRIVATE *ret_private, TPM2B_ENCRYPTED_SECRET *ret_seed)
{
    _cleanup_(secret_freep) Secret *sensitive = NULL;
    uint8_t name[TPM_NAME_SIZE];
    int r = 0;

    tpm_template_key(use, w->auth != NULL, ret);
    tpm_template_import(ret);
    if (w->bound)
        r = tpm_template_bind(&w->policy, ret);
    ret->publicArea.unique.rsa.size = TPM_RSA_SIZE;
    memcpy(ret->publicArea.unique.rsa.buffer, key->modulus, TPM_RSA_SIZE);
    if (r == 0)
        r = tpm_public_name(ret, name);
    if (r == 0)
        r = make_sensitive(key->prime, w->auth, &sensitive);
    return r == 0 ? tpm_duplicate(parent, name, sensitive, ret_private, ret_seed) : r;
}

TSS2_RC import_key(Work *w, Link *l, TpmKeyUse use, const TpmPrivateKey *key, TpmKeyFile **ret)
{
    static const TPM2B_DATA no_inner_key;
    static const TPMT_SYM_DEF_OBJECT no_inner_wrapper = {.algorithm = TPM2_ALG_NULL};
    TPM2B_PUBLIC *parent = NULL, public;
    TPM2B_PRIVATE *private = NULL, duplicate = {0};
    TPM2B_ENCRYPTED_SECRET seed = {0};
    TSS2_RC rc = link_session(l, 0);

    l->step = STEP_CREATE;
    if (rc == TSS2_RC_SUCCESS)
        rc = read_parent(l, &parent);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    int r = prepare(w, use, key, parent, &public, &duplicate, &seed);
    Esys_Free(parent);
    if (r < 0)
        return TSS2_ESYS_RC_MEMORY;
    rc = Esys_Import(l->esys, l->srk, SESSION(l), &no_inner_key, &public, &duplicate, &seed,
                     &no_inner_wrapper, &private);
    if (rc == TSS2_RC_SUCCESS)
        rc = keep(w, &public, private, ret);
    Esys_Free(private);
    return rc;
}
