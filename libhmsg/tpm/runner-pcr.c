/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PCRs: what they are, and the part of a key's policy that is about them. */

#include <string.h>

#include "libhmsg/tpm/runner-internal.h"

/* In the salted session, which audits: nobody on the way can make values up for the owner to approve. */
static TSS2_RC read_values(Link *l, uint32_t mask, TpmPcrValues *ret)
{
    TPML_PCR_SELECTION wanted, *got = NULL;
    TPML_DIGEST *digests = NULL;
    unsigned n = tpm_pcr_count(mask);
    TSS2_RC rc = link_session(l, TPMA_SESSION_AUDIT);

    if (rc != TSS2_RC_SUCCESS)
        return rc;
    l->step = STEP_USE;
    tpm_pcr_selection(mask, &wanted);
    rc = Esys_PCR_Read(l->esys, SESSION(l), &wanted, NULL, &got, &digests);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    const uint8_t *a = got->pcrSelections[0].pcrSelect, *b = wanted.pcrSelections[0].pcrSelect;
    if (got->count != 1 || got->pcrSelections[0].hash != TPM2_ALG_SHA256 || digests->count != n ||
        memcmp(a, b, TPM_PCR_MAX / 8) != 0) /* public */
        rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
    for (unsigned i = 0; rc == TSS2_RC_SUCCESS && i < n; i++) {
        if (digests->digests[i].size != TPM_PCR_SIZE)
            rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
        else
            memcpy(ret->values[i], digests->digests[i].buffer, TPM_PCR_SIZE);
    }
    Esys_Free(got);
    Esys_Free(digests);
    return rc;
}

TSS2_RC pcr_read(Work *w, Link *l)
{
    w->pcr_values = (TpmPcrValues){0};
    return read_values(l, w->pcr_mask, &w->pcr_values);
}

static const TpmApproval *find(const TpmPcrPolicy *p, const TpmPcrValues *now)
{
    size_t size = (size_t)tpm_pcr_count(p->mask) * TPM_PCR_SIZE;

    for (unsigned i = p->n; i > 0; i--)
        if (memcmp(p->approvals[i - 1].pcrs.values, now->values, size) == 0) /* public */
            return &p->approvals[i - 1];
    return NULL;
}

static void refuse(Work *w, const TpmPcrPolicy *p, const TpmPcrValues *now)
{
    char text[TPM_PCR_TEXT_SIZE] = "nothing was approved";

    if (p->n > 0)
        tpm_pcr_difference(p->mask, now, &p->approvals[p->n - 1].pcrs, text);
    w->r = tpm_problem_set(&w->problem, TPM_REASON_PCR, text, 0);
}

/* The TPM's word that the policy key has signed it. */
static TSS2_RC verify(Link *l, const TpmPcrPolicy *p, const TpmApproval *a, TPMT_TK_VERIFIED **ret)
{
    TPMT_SIGNATURE signature = {.sigAlg = TPM2_ALG_RSAPSS};
    TPM2B_DIGEST digest = {.size = TPM_DIGEST_SIZE};
    TPM2B_PUBLIC public;

    if (tpm_pcr_to_sign(p->mask, &a->pcrs, digest.buffer) < 0)
        return TSS2_ESYS_RC_MEMORY;
    tpm_pcr_signer_public(p->modulus, &public);
    TSS2_RC rc = link_load_external(l, &public);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    signature.signature.rsapss.hash = TPM2_ALG_SHA256;
    signature.signature.rsapss.sig.size = TPM_RSA_SIZE;
    memcpy(signature.signature.rsapss.sig.buffer, a->signature, TPM_RSA_SIZE);
    rc = Esys_VerifySignature(l->esys, l->external, NO_SESSION, &digest, &signature, ret);
    link_drop_external(l);
    return rc;
}

static TSS2_RC authorize(Work *w, Link *l, const TpmPcrPolicy *p, const TpmApproval *a)
{
    TPM2B_DIGEST values = {.size = TPM_DIGEST_SIZE}, approved = {.size = TPM_DIGEST_SIZE};
    TPM2B_NAME signer = {.size = TPM_NAME_SIZE};
    static const TPM2B_NONCE no_reference;
    TPMT_TK_VERIFIED *ticket = NULL;
    TPML_PCR_SELECTION selection;

    tpm_pcr_selection(p->mask, &selection);
    memcpy(signer.name, w->policy.signer, TPM_NAME_SIZE);
    if (tpm_pcr_digest(p->mask, &a->pcrs, values.buffer) < 0 ||
        tpm_pcr_policy_digest(p->mask, &a->pcrs, approved.buffer) < 0)
        return TSS2_ESYS_RC_MEMORY;
    TSS2_RC rc = Esys_PolicyPCR(l->esys, l->policy, NO_SESSION, &values, &selection);
    if (rc == TSS2_RC_SUCCESS)
        rc = verify(l, p, a, &ticket);
    if (rc_plain(rc) == TPM2_RC_SIGNATURE) {
        w->r = tpm_problem_set(&w->problem, TPM_REASON_PCR, "the approval is not by the policy key", 0);
        return TSS2_RC_SUCCESS;
    }
    if (rc == TSS2_RC_SUCCESS)
        rc = Esys_PolicyAuthorize(l->esys, l->policy, NO_SESSION, &approved, &no_reference, &signer, ticket);
    Esys_Free(ticket);
    return rc;
}

TSS2_RC pcr_assert(Work *w, Link *l)
{
    const TpmPcrPolicy *p = w->pcrs;
    const TpmApproval *a;
    TpmPcrValues now = {0};

    if (!p) {
        w->r = tpm_problem_set(&w->problem, TPM_REASON_PCR, "nothing was approved", 0);
        return TSS2_RC_SUCCESS;
    }
    TSS2_RC rc = read_values(l, p->mask, &now);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    a = find(p, &now);
    if (a)
        return authorize(w, l, p, a);
    refuse(w, p, &now);
    return rc;
}
