/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <string.h>

#include "libhmsg/tpm/runner-internal.h"

#define NO_SESSION ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE
#define SESSION(l) (l)->session, ESYS_TR_NONE, ESYS_TR_NONE

static void drop_index(Link *l)
{
    if (l->nv != ESYS_TR_NONE)
        (void)Esys_TR_Close(l->esys, &l->nv);
    l->nv = ESYS_TR_NONE;
}

/* Is it a counter of ours that was raised before? The key's policy has that in its digest. */
static TSS2_RC check_name(Link *l, uint32_t index, bool *ret)
{
    TPM2B_NAME *name = NULL;
    uint8_t expected[TPM_NAME_SIZE];

    TSS2_RC rc = Esys_TR_GetName(l->esys, l->nv, &name);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    if (tpm_counter_name(index, expected) < 0)
        rc = TSS2_ESYS_RC_MEMORY;
    else
        *ret = name->size == TPM_NAME_SIZE && memcmp(name->name, expected, TPM_NAME_SIZE) == 0; /* public */
    Esys_Free(name);
    return rc;
}

/* Where it was found before it is not looked for again: had it become another since, its Name would not go
 * with the HMAC. */
TSS2_RC policy_find(Work *w, Link *l)
{
    bool good = false;

    l->step = STEP_COUNTER;
    if (l->nv != ESYS_TR_NONE && l->nv_index == w->policy.index)
        return TSS2_RC_SUCCESS;
    drop_index(l);
    TSS2_RC rc = Esys_TR_FromTPMPublic(l->esys, w->policy.index, NO_SESSION, &l->nv);
    if (rc != TSS2_RC_SUCCESS)
        l->nv = ESYS_TR_NONE;
    if (rc_plain(rc) == TPM2_RC_HANDLE) {
        rc_settle(w, l->step, rc, l->conf);
        return TSS2_RC_SUCCESS;
    }
    if (rc == TSS2_RC_SUCCESS)
        rc = check_name(l, w->policy.index, &good);
    if (rc == TSS2_RC_SUCCESS && good) {
        l->nv_index = w->policy.index;
        return rc;
    }
    drop_index(l);
    if (rc == TSS2_RC_SUCCESS)
        w->r = tpm_problem_set(&w->problem, TPM_REASON_DESTROYED, l->conf, 0);
    return rc;
}

/* TPM2_PolicyNV reads the counter, which its authorization value allows; for the key that is none. */
static TSS2_RC assert_generation(Work *w, Link *l)
{
    TPM2B_AUTH value = {.size = TPM_AUTH_SIZE};
    TPM2B_OPERAND operand = {.size = TPM_COUNTER_SIZE};
    static const TPM2B_AUTH none;
    uint64_t generation = htobe64(w->policy.generation);

    memcpy(value.buffer, w->counter.auth, TPM_AUTH_SIZE);
    memcpy(operand.buffer, &generation, sizeof(generation));
    TSS2_RC rc = Esys_TR_SetAuth(l->esys, l->nv, &value);
    bytes_wipe(&value, sizeof(value));
    if (rc == TSS2_RC_SUCCESS)
        rc = Esys_PolicyNV(l->esys, l->nv, l->nv, l->policy, SESSION(l), &operand, 0, TPM2_EO_UNSIGNED_LE);
    (void)Esys_TR_SetAuth(l->esys, l->nv, &none);
    return rc;
}

TSS2_RC policy_assert(Work *w, Link *l, TPMA_SESSION attributes)
{
    TSS2_RC rc = link_policy(l);
    if (rc == TSS2_RC_SUCCESS)
        rc = policy_find(w, l);
    if (rc != TSS2_RC_SUCCESS || w->r != 0)
        return rc;
    l->policy_blank = false;
    if (w->policy.measured)
        rc = pcr_assert(w, l);
    if (rc != TSS2_RC_SUCCESS || w->r != 0)
        return rc;
    l->step = STEP_COUNTER;
    rc = assert_generation(w, l);
    if (rc == TSS2_RC_SUCCESS && tpm_keyfile_is_guarded(w->key))
        rc = Esys_PolicyAuthValue(l->esys, l->policy, NO_SESSION);
    return rc == TSS2_RC_SUCCESS ? Esys_TRSess_SetAttributes(l->esys, l->policy,
                                                             attributes | TPMA_SESSION_CONTINUESESSION, 0xff)
                                 : rc;
}
