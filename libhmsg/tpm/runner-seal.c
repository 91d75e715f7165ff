/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Secrets that this TPM alone gives out again: keyedhash objects (TPM 2.0 Part 1, section 27.6). */

#include <string.h>
#include <tss2/tss2_mu.h>

#include "libhmsg/tpm/runner-internal.h"

static TSS2_RC keep(const Work *w, const TPM2B_PUBLIC *public, const TPM2B_PRIVATE *private, TpmKeyFile **ret)
{
    uint8_t a[sizeof(TPM2B_PUBLIC)], b[sizeof(TPM2B_PRIVATE)];
    size_t a_size = 0, b_size = 0;

    return Tss2_MU_TPM2B_PUBLIC_Marshal(public, a, sizeof(a), &a_size) == TSS2_RC_SUCCESS &&
                   Tss2_MU_TPM2B_PRIVATE_Marshal(private, b, sizeof(b), &b_size) == TSS2_RC_SUCCESS &&
                   tpm_sealed_from_blobs(a, a_size, b, b_size, w->bound ? &w->policy : NULL, ret) == 0
               ? TSS2_RC_SUCCESS
               : TSS2_ESYS_RC_MALFORMED_RESPONSE;
}

TSS2_RC seal_run(Work *w, Link *l)
{
    static const TPM2B_DATA outside;
    static const TPML_PCR_SELECTION pcrs;
    TPM2B_SENSITIVE_CREATE sensitive = {.sensitive.data.size = TPM_SEALED_SIZE};
    TPM2B_PUBLIC template, *public = NULL;
    TPM2B_PRIVATE *private = NULL;
    TSS2_RC rc = w->bound ? policy_find(w, l) : TSS2_RC_SUCCESS;

    if (rc == TSS2_RC_SUCCESS && w->r == 0)
        rc = link_session(l, TPMA_SESSION_DECRYPT);
    if (rc != TSS2_RC_SUCCESS || w->r != 0)
        return rc;
    l->step = STEP_CREATE;
    tpm_template_sealed(&template);
    if (w->bound && tpm_template_bind(&w->policy, &template) < 0)
        return TSS2_ESYS_RC_MEMORY;
    memcpy(sensitive.sensitive.data.buffer, secret_bytes(w->to_seal), TPM_SEALED_SIZE);
    rc = Esys_Create(l->esys, l->srk, SESSION(l), &sensitive, &template, &outside, &pcrs, &private, &public,
                     NULL, NULL, NULL);
    bytes_wipe(&sensitive, sizeof(sensitive));
    if (rc == TSS2_RC_SUCCESS) {
        work_wipe(l);
        rc = keep(w, public, private, &w->sealed);
    }
    Esys_Free(public);
    Esys_Free(private);
    return rc;
}

TSS2_RC unseal_run(Work *w, Link *l)
{
    TPM2B_SENSITIVE_DATA *data = NULL;
    ESYS_TR session = ESYS_TR_NONE;
    TSS2_RC rc = work_load(w, l, TPMA_SESSION_ENCRYPT, &session);

    if (rc != TSS2_RC_SUCCESS || w->r != 0)
        return rc;
    l->step = STEP_USE;
    rc = Esys_Unseal(l->esys, l->key, session, ESYS_TR_NONE, ESYS_TR_NONE, &data);
    work_used(w, l, rc);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    if (data->size == TPM_SEALED_SIZE)
        w->r = secret_new_copy(data->buffer, data->size, &w->secret);
    else
        rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
    bytes_wipe(data, sizeof(*data));
    Esys_Free(data);
    work_wipe(l);
    return rc;
}
