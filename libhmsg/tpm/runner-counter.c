/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <errno.h>
#include <openssl/rand.h>
#include <string.h>

#include "libhmsg/tpm/runner-internal.h"

/* Owner indices that no registry has handed out: TCG Registry of Reserved TPM 2.0 Handles. */
#define INDEX_FIRST 0x01800000u
#define INDEX_COUNT 0x00400000u
#define INDEX_TRIES 16u

int tpm_counter_choose(TpmCounter *ret)
{
    uint32_t random;
    if (RAND_bytes((unsigned char *)&random, sizeof(random)) != 1 ||
        RAND_priv_bytes(ret->auth, sizeof(ret->auth)) != 1)
        return -EIO;
    ret->index = INDEX_FIRST + random % INDEX_COUNT;
    return 0;
}

/* Lets ESYS know the index, with its authorization value, which goes into HMACs and no further. */
static TSS2_RC find(Work *w, Link *l, ESYS_TR *ret)
{
    TPM2B_AUTH value = {.size = TPM_AUTH_SIZE};
    TSS2_RC rc = Esys_TR_FromTPMPublic(l->esys, w->counter.index, NO_SESSION, ret);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    memcpy(value.buffer, w->counter.auth, TPM_AUTH_SIZE);
    rc = Esys_TR_SetAuth(l->esys, *ret, &value);
    bytes_wipe(&value, sizeof(value));
    if (rc != TSS2_RC_SUCCESS)
        (void)Esys_TR_Close(l->esys, ret);
    return rc;
}

static void let_go(Link *l, ESYS_TR nv)
{
    static const TPM2B_AUTH none;
    if (nv == ESYS_TR_NONE)
        return;
    (void)Esys_TR_SetAuth(l->esys, nv, &none);
    (void)Esys_TR_Close(l->esys, &nv);
}

static TSS2_RC read_value(Work *w, Link *l, ESYS_TR nv)
{
    TPM2B_MAX_NV_BUFFER *data = NULL;
    uint64_t value;
    TSS2_RC rc = Esys_NV_Read(l->esys, nv, nv, SESSION(l), TPM_COUNTER_SIZE, 0, &data);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    if (data->size == TPM_COUNTER_SIZE) {
        memcpy(&value, data->buffer, sizeof(value));
        w->value = be64toh(value);
    } else
        rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
    Esys_Free(data);
    return rc;
}

static TSS2_RC define(Work *w, Link *l)
{
    TPM2B_AUTH value = {.size = TPM_AUTH_SIZE};
    TPM2B_NV_PUBLIC public;
    TSS2_RC rc = link_session(l, TPMA_SESSION_DECRYPT);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    l->step = STEP_DEFINE;
    rc = TPM2_RC_NV_DEFINED;
    for (unsigned i = 0; i < INDEX_TRIES && rc_plain(rc) == TPM2_RC_NV_DEFINED; i++) {
        ESYS_TR nv = ESYS_TR_NONE;
        if (!w->counter_given && (w->r = tpm_counter_choose(&w->counter)) < 0)
            return TSS2_RC_SUCCESS;
        tpm_counter_public(w->counter.index, &public);
        memcpy(value.buffer, w->counter.auth, TPM_AUTH_SIZE);
        rc = Esys_NV_DefineSpace(l->esys, ESYS_TR_RH_OWNER, SESSION(l), &value, &public, &nv);
        if (rc == TSS2_RC_SUCCESS) {
            w->counter_defined = true;
            let_go(l, nv);
        }
        if (w->counter_given && rc_plain(rc) == TPM2_RC_NV_DEFINED) /* ours, if it takes our value */
            rc = TSS2_RC_SUCCESS;
    }
    bytes_wipe(&value, sizeof(value));
    return rc;
}

/* Reads again before each try, so that one that was cut short goes on where it was. */
static TSS2_RC raise_to(Work *w, Link *l, ESYS_TR nv, uint64_t to)
{
    TSS2_RC rc = read_value(w, l, nv);
    if (rc == TSS2_RC_SUCCESS && to > w->value && to - w->value > TPM_COUNTER_RAISE_MAX) {
        w->r = -ERANGE;
        return rc;
    }
    while (rc == TSS2_RC_SUCCESS && w->value < to) {
        rc = Esys_NV_Increment(l->esys, nv, nv, SESSION(l));
        if (rc == TSS2_RC_SUCCESS)
            rc = read_value(w, l, nv);
    }
    return rc;
}

/* TPM2_NV_Read of a counter that was never raised fails. */
static TSS2_RC first_value(Work *w, Link *l, ESYS_TR nv)
{
    TSS2_RC rc = read_value(w, l, nv);
    if (rc_plain(rc) != TPM2_RC_NV_UNINITIALIZED)
        return rc;
    rc = Esys_NV_Increment(l->esys, nv, nv, SESSION(l));
    return rc == TSS2_RC_SUCCESS ? read_value(w, l, nv) : rc;
}

/* The owner can remove any index: only one that takes our authorization value is ours. With a password on the
 * owner hierarchy it stays, raised past the keys that are bound to it. */
static TSS2_RC undefine(Work *w, Link *l, ESYS_TR *nv)
{
    TSS2_RC rc = read_value(w, l, *nv);
    if (rc != TSS2_RC_SUCCESS && rc_plain(rc) != TPM2_RC_NV_UNINITIALIZED)
        return rc;
    rc = Esys_NV_UndefineSpace(l->esys, ESYS_TR_RH_OWNER, *nv, SESSION(l));
    if (rc == TSS2_RC_SUCCESS)
        *nv = ESYS_TR_NONE;
    if (!rc_is_auth(rc))
        return rc;
    rc = read_value(w, l, *nv);
    return rc == TSS2_RC_SUCCESS ? raise_to(w, l, *nv, w->value + 1) : rc;
}

TSS2_RC counter_run(Work *w, Link *l)
{
    ESYS_TR nv = ESYS_TR_NONE;
    TSS2_RC rc = TSS2_RC_SUCCESS;

    if (w->kind == WORK_COUNTER_NEW && !w->counter_defined)
        rc = define(w, l);
    if (rc == TSS2_RC_SUCCESS && w->r == 0)
        rc = link_session(l, 0);
    if (rc != TSS2_RC_SUCCESS || w->r != 0)
        return rc;
    l->step = STEP_COUNTER;
    rc = find(w, l, &nv);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    switch (w->kind) {
    case WORK_COUNTER_NEW:
        rc = first_value(w, l, nv);
        break;
    case WORK_COUNTER_RAISE:
        rc = raise_to(w, l, nv, w->raise_to);
        break;
    case WORK_COUNTER_REMOVE:
        rc = undefine(w, l, &nv);
        break;
    default:
        rc = read_value(w, l, nv);
        break;
    }
    let_go(l, nv);
    return rc;
}
