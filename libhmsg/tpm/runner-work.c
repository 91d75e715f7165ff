/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_sys.h>

#include "libhmsg/tpm/runner-internal.h"

#define STACK_WIPED 32768u /* bytes, more than the TSS takes for a command */
#define BUSY_PAUSE_MS 20
#define ROOM_TRIES 6 /* the first makes room at once, the others wait for other programs */
#define ROOM_PAUSE_MS 200

Work *work_free(Work *w)
{
    if (!w)
        return NULL;
    tpm_keyfile_free(w->key);
    tpm_keyfile_free(w->decrypt_key);
    tpm_keyfile_free(w->sign_key);
    tpm_keyfile_free(w->sealed);
    secret_free(w->secret);
    secret_free(w->auth);
    secret_free(w->new_auth);
    secret_free(w->to_seal);
    secret_free(w->from_decrypt.prime);
    secret_free(w->from_sign.prime);
    free(w->pcrs);
    bytes_wipe(w, sizeof(*w));
    free(w);
    return NULL;
}

/* The system API keeps the last response, decrypted, until the next command. */
static void wipe_response(Link *l)
{
    TSS2_SYS_CONTEXT *sys = NULL;
    const uint8_t *parameters = NULL;
    size_t size = 0;
    if (Esys_GetSysContext(l->esys, &sys) == TSS2_RC_SUCCESS &&
        Tss2_Sys_GetRpBuffer(sys, &size, &parameters) == TSS2_RC_SUCCESS)
        bytes_wipe((uint8_t *)(uintptr_t)parameters, size);
}

/* It decrypts parameters on the stack, and leaves them there. */
__attribute__((noinline)) static void wipe_stack(void)
{
    uint8_t below[STACK_WIPED];
    bytes_wipe(below, sizeof(below));
}

void work_wipe(Link *l)
{
    wipe_response(l);
    wipe_stack();
}

static TSS2_RC create_key(Link *l, TpmKeyUse use, const TpmKeyPolicy *policy, const Secret *auth,
                          TpmKeyFile **ret)
{
    TPM2B_SENSITIVE_CREATE sensitive = {0};
    static const TPM2B_DATA outside;
    static const TPML_PCR_SELECTION pcrs;
    TPM2B_PUBLIC template, *public = NULL;
    TPM2B_PRIVATE *private = NULL;
    uint8_t a[sizeof(TPM2B_PUBLIC)], b[sizeof(TPM2B_PRIVATE)];
    size_t a_size = 0, b_size = 0;

    TSS2_RC rc = link_session(l, TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    l->step = STEP_CREATE;
    tpm_template_key(use, auth != NULL, &template);
    if (policy && tpm_template_bind(policy, &template) < 0)
        return TSS2_ESYS_RC_MEMORY;
    if (auth) {
        sensitive.sensitive.userAuth.size = (uint16_t)secret_size(auth);
        memcpy(sensitive.sensitive.userAuth.buffer, secret_bytes(auth), secret_size(auth));
    }
    rc = Esys_Create(l->esys, l->srk, SESSION(l), &sensitive, &template, &outside, &pcrs, &private, &public,
                     NULL, NULL, NULL);
    bytes_wipe(&sensitive, sizeof(sensitive));
    if (rc == TSS2_RC_SUCCESS &&
        (Tss2_MU_TPM2B_PUBLIC_Marshal(public, a, sizeof(a), &a_size) != TSS2_RC_SUCCESS ||
         Tss2_MU_TPM2B_PRIVATE_Marshal(private, b, sizeof(b), &b_size) != TSS2_RC_SUCCESS ||
         tpm_keyfile_from_blobs(a, a_size, b, b_size, auth != NULL, policy, ret) != 0))
        rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
    Esys_Free(public);
    Esys_Free(private);
    return rc;
}

/* The first key is kept when the second has to be tried again. */
static TSS2_RC do_create(Work *w, Link *l)
{
    const TpmKeyPolicy *policy = w->bound ? &w->policy : NULL;
    TSS2_RC rc = policy ? policy_find(w, l) : TSS2_RC_SUCCESS;
    if (rc == TSS2_RC_SUCCESS && w->adopted) /* this TPM takes it */
        rc = link_load(l, w->decrypt_key);
    if (rc == TSS2_RC_SUCCESS && w->r == 0 && !w->decrypt_key)
        rc = w->from_decrypt.prime ? import_key(w, l, TPM_KEY_DECRYPT, &w->from_decrypt, &w->decrypt_key)
                                   : create_key(l, TPM_KEY_DECRYPT, policy, w->auth, &w->decrypt_key);
    if (rc == TSS2_RC_SUCCESS && w->r == 0 && !w->sign_key)
        rc = w->from_sign.prime ? import_key(w, l, TPM_KEY_SIGN, &w->from_sign, &w->sign_key)
                                : create_key(l, TPM_KEY_SIGN, policy, w->auth, &w->sign_key);
    return rc;
}

static void take_plaintext(Work *w, TPM2B_PUBLIC_KEY_RSA *message)
{
    if (message->size == 0 || message->size > TPM_RSA_SIZE ||
        (w->plaintext_size != 0 && message->size != w->plaintext_size))
        w->r = HMSG_ERROR_AUTHENTICATION_FAILED;
    else
        w->r = secret_new_copy(message->buffer, message->size, &w->secret);
    bytes_wipe(message, sizeof(*message));
    Esys_Free(message);
}

TSS2_RC work_load(Work *w, Link *l, TPMA_SESSION attributes, ESYS_TR *ret)
{
    TSS2_RC rc = link_session(l, w->bound ? 0 : attributes);
    *ret = l->session;
    if (rc == TSS2_RC_SUCCESS)
        rc = link_load(l, w->key);
    if (rc == TSS2_RC_SUCCESS && w->bound) {
        rc = policy_assert(w, l, attributes);
        *ret = l->policy;
    }
    if (rc != TSS2_RC_SUCCESS || w->r != 0)
        return rc;
    /* where the policy asks for none, the TPM does not expect it in the HMAC */
    return link_authorize(l, w->bound && !tpm_keyfile_is_guarded(w->key) ? NULL : w->auth);
}

/* The TPM makes a policy session blank when a command that it authorized succeeds. */
void work_used(const Work *w, Link *l, TSS2_RC rc)
{
    (void)link_authorize(l, NULL);
    if (w->bound)
        l->policy_blank = rc == TSS2_RC_SUCCESS;
}

/* In failure mode every command but few fails with the same code as a wrong padding in some TPMs. */
static bool works(Link *l)
{
    TPM2B_MAX_BUFFER *data = NULL;
    TPM2_RC result = TPM2_RC_FAILURE;
    TSS2_RC rc = Esys_GetTestResult(l->esys, NO_SESSION, &data, &result);
    Esys_Free(data);
    return rc == TSS2_RC_SUCCESS && result != TPM2_RC_FAILURE;
}

static TSS2_RC do_decrypt(Work *w, Link *l)
{
    static const TPM2B_DATA no_label;
    static const TPMT_RSA_DECRYPT scheme_of_key = {.scheme = TPM2_ALG_NULL};
    static const TPMT_RSA_DECRYPT oaep = {.scheme = TPM2_ALG_OAEP, .details.oaep.hashAlg = TPM2_ALG_SHA256};
    TPM2B_PUBLIC_KEY_RSA ciphertext = {.size = TPM_RSA_SIZE}, *message = NULL;

    if (!w->ciphertext_fits || tpm_keyfile_use(w->key) != TPM_KEY_DECRYPT) {
        w->r = HMSG_ERROR_AUTHENTICATION_FAILED;
        return TSS2_RC_SUCCESS;
    }
    ESYS_TR session = ESYS_TR_NONE;
    TSS2_RC rc = work_load(w, l, TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT, &session);
    if (rc != TSS2_RC_SUCCESS || w->r != 0)
        return rc;
    l->step = STEP_DECRYPT;
    memcpy(ciphertext.buffer, w->ciphertext, TPM_RSA_SIZE);
    rc = Esys_RSA_Decrypt(l->esys, l->key, session, ESYS_TR_NONE, ESYS_TR_NONE, &ciphertext,
                          tpm_keyfile_is_open(w->key) ? &oaep : &scheme_of_key, &no_label, &message);
    work_used(w, l, rc);
    if (rc == TSS2_RC_SUCCESS) {
        take_plaintext(w, message);
        work_wipe(l);
        return rc;
    }
    bool ask = false;
    if (rc_is_oaep(rc, &ask) && (!ask || works(l))) {
        w->r = HMSG_ERROR_AUTHENTICATION_FAILED;
        return TSS2_RC_SUCCESS;
    }
    return rc;
}

static TSS2_RC do_sign(Work *w, Link *l)
{
    static const TPMT_SIG_SCHEME scheme_of_key = {.scheme = TPM2_ALG_NULL};
    static const TPMT_TK_HASHCHECK no_ticket = {.tag = TPM2_ST_HASHCHECK, .hierarchy = TPM2_RH_NULL};
    TPM2B_DIGEST digest = {.size = sizeof(w->digest)};
    TPMT_SIGNATURE *signature = NULL;

    if (tpm_keyfile_use(w->key) != TPM_KEY_SIGN) {
        w->r = -EINVAL;
        return TSS2_RC_SUCCESS;
    }
    ESYS_TR session = ESYS_TR_NONE; /* a signature is no parameter that could be encrypted */
    TSS2_RC rc = work_load(w, l, TPMA_SESSION_DECRYPT, &session);
    if (rc != TSS2_RC_SUCCESS || w->r != 0)
        return rc;
    l->step = STEP_USE;
    memcpy(digest.buffer, w->digest, sizeof(w->digest));
    rc = Esys_Sign(l->esys, l->key, session, ESYS_TR_NONE, ESYS_TR_NONE, &digest, &scheme_of_key, &no_ticket,
                   &signature);
    work_used(w, l, rc);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    if (signature->sigAlg != TPM2_ALG_RSAPSS || signature->signature.rsapss.sig.size != TPM_RSA_SIZE)
        rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
    else {
        memcpy(w->data, signature->signature.rsapss.sig.buffer, TPM_RSA_SIZE);
        w->data_size = TPM_RSA_SIZE;
    }
    Esys_Free(signature);
    return rc;
}

/* In the HMAC session for bound keys too: adminWithPolicy is clear. */
static TSS2_RC do_change_auth(Work *w, Link *l)
{
    TPM2B_AUTH value = {.size = w->new_auth ? (uint16_t)secret_size(w->new_auth) : 0};
    TPM2B_PRIVATE *private = NULL;
    uint8_t blob[sizeof(TPM2B_PRIVATE)];
    size_t size = 0, public_size;
    TpmKeyFile **ret = tpm_keyfile_use(w->key) == TPM_KEY_DECRYPT ? &w->decrypt_key : &w->sign_key;

    ESYS_TR session = ESYS_TR_NONE;
    TSS2_RC rc = work_load(w, l, TPMA_SESSION_DECRYPT, &session);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    l->step = STEP_USE;
    if (w->new_auth)
        memcpy(value.buffer, secret_bytes(w->new_auth), value.size);
    rc =
        Esys_ObjectChangeAuth(l->esys, l->key, l->srk, session, ESYS_TR_NONE, ESYS_TR_NONE, &value, &private);
    bytes_wipe(&value, sizeof(value));
    (void)link_authorize(l, NULL);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    const uint8_t *public = tpm_keyfile_public(w->key, &public_size);
    if (Tss2_MU_TPM2B_PRIVATE_Marshal(private, blob, sizeof(blob), &size) != TSS2_RC_SUCCESS ||
        tpm_keyfile_from_blobs(public, public_size, blob, size, w->new_auth != NULL,
                               tpm_keyfile_policy(w->key), ret) != 0)
        rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
    Esys_Free(private);
    return rc;
}

/* data_size: how many bytes are wanted; a TPM gives at most a digest's size at once. */
static TSS2_RC do_random(Work *w, Link *l)
{
    TSS2_RC rc = link_session(l, TPMA_SESSION_ENCRYPT);
    l->step = rc == TSS2_RC_SUCCESS ? STEP_USE : l->step;
    for (size_t have = 0; rc == TSS2_RC_SUCCESS && have < w->data_size;) {
        TPM2B_DIGEST *bytes = NULL;
        rc = Esys_GetRandom(l->esys, SESSION(l), (uint16_t)(w->data_size - have), &bytes);
        if (rc != TSS2_RC_SUCCESS)
            break;
        if (bytes->size == 0 || bytes->size > w->data_size - have)
            rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
        else {
            memcpy(w->data + have, bytes->buffer, bytes->size);
            have += bytes->size;
        }
        bytes_wipe(bytes, sizeof(*bytes));
        Esys_Free(bytes);
        wipe_response(l);
    }
    wipe_stack();
    return rc;
}

static void note_text(char *text, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        char c = (char)(value >> (24 - 8 * i));
        text[i] = c == 0 || (c >= ' ' && c <= '~') ? c : '?';
    }
}

static void note_property(TpmFacts *f, uint32_t property, uint32_t value)
{
    switch (property) {
    case TPM2_PT_MANUFACTURER:
        note_text(f->manufacturer, value);
        break;
    case TPM2_PT_VENDOR_STRING_1:
    case TPM2_PT_VENDOR_STRING_2:
    case TPM2_PT_VENDOR_STRING_3:
    case TPM2_PT_VENDOR_STRING_4:
        note_text(f->vendor + 4 * (property - TPM2_PT_VENDOR_STRING_1), value);
        break;
    case TPM2_PT_FIRMWARE_VERSION_1:
        f->firmware[0] = value;
        break;
    case TPM2_PT_FIRMWARE_VERSION_2:
        f->firmware[1] = value;
        break;
    case TPM2_PT_PERMANENT:
        f->in_lockout = (value & TPMA_PERMANENT_INLOCKOUT) != 0;
        break;
    case TPM2_PT_LOCKOUT_COUNTER:
        f->lockout_counter = value;
        break;
    case TPM2_PT_MAX_AUTH_FAIL:
        f->lockout_max = value;
        break;
    case TPM2_PT_LOCKOUT_INTERVAL:
        f->lockout_interval = value;
        break;
    case TPM2_PT_LOCKOUT_RECOVERY:
        f->lockout_recovery = value;
        break;
    default:
        break;
    }
}

static TSS2_RC do_probe(Work *w, Link *l)
{
    static const uint32_t groups[] = {TPM2_PT_FIXED, TPM2_PT_VAR};
    memcpy(w->facts.srk_name, l->srk_name, TPM_NAME_SIZE);
    w->facts.srk_persistent = l->srk_persistent;
    l->step = STEP_USE;
    for (size_t g = 0; g < ELEMENTSOF(groups); g++) {
        TPMS_CAPABILITY_DATA *data = NULL;
        TSS2_RC rc = Esys_GetCapability(l->esys, NO_SESSION, TPM2_CAP_TPM_PROPERTIES, groups[g],
                                        TPM2_MAX_TPM_PROPERTIES, NULL, &data);
        if (rc != TSS2_RC_SUCCESS)
            return rc;
        const TPML_TAGGED_TPM_PROPERTY *list = &data->data.tpmProperties;
        for (uint32_t i = 0; i < list->count && i < TPM2_MAX_TPM_PROPERTIES; i++)
            note_property(&w->facts, list->tpmProperty[i].property, list->tpmProperty[i].value);
        Esys_Free(data);
    }
    return TSS2_RC_SUCCESS;
}

static TSS2_RC attempt(Work *w, Link *l)
{
    TSS2_RC rc = link_open(l, w->pinned ? w->pin : NULL);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    memcpy(w->srk_name, l->srk_name, TPM_NAME_SIZE);
    if (w->pinned && w->kind != WORK_PROBE && memcmp(w->pin, l->srk_name, TPM_NAME_SIZE) != 0) { /* public */
        w->r = tpm_problem_set(&w->problem, TPM_REASON_WRONG_TPM, l->conf, 0);
        return TSS2_RC_SUCCESS;
    }
    switch (w->kind) {
    case WORK_CREATE:
        return do_create(w, l);
    case WORK_DECRYPT:
        return do_decrypt(w, l);
    case WORK_SIGN:
        return do_sign(w, l);
    case WORK_CHANGE_AUTH:
        return do_change_auth(w, l);
    case WORK_SEAL:
        return seal_run(w, l);
    case WORK_UNSEAL:
        return unseal_run(w, l);
    case WORK_PCR_READ:
        return pcr_read(w, l);
    case WORK_RANDOM:
        return do_random(w, l);
    case WORK_COUNTER_NEW:
    case WORK_COUNTER_READ:
    case WORK_COUNTER_RAISE:
    case WORK_COUNTER_REMOVE:
        return counter_run(w, l);
    case WORK_PROBE:
    default:
        return do_probe(w, l);
    }
}

/* Was the last command one that tried an authorization value? */
static bool is_guarded_use(const Work *w, const Link *l)
{
    return w->key && tpm_keyfile_needs_auth(w->key) && l->step >= STEP_DECRYPT;
}

void work_run(Work *w, Link *l)
{
    bool fresh = false;
    unsigned tries = 0;

    if (w->kind == WORK_FORGET) {
        link_close(l, false);
        return;
    }
    if (w->software) {
        work_run_software(w);
        return;
    }
    for (;;) {
        TSS2_RC rc = attempt(w, l);
        if (rc == TSS2_RC_SUCCESS)
            return;
        /* once more would be one more failure for the TPM to count */
        bool once = is_guarded_use(w, l);
        if (once && rc_is_auth(rc)) {
            w->r = tpm_problem_set(&w->problem, TPM_REASON_WRONG_AUTH, NULL, 0);
            return;
        }
        switch (rc_remedy(rc)) {
        case REMEDY_FRESH:
            once = once && rc_plain(rc) == 0 && tcti_sent(l->tcti); /* it may have counted it already */
            link_close(l, rc_plain(rc) == 0);
            if (!fresh && !once && link_pause(l, 0)) {
                fresh = true;
                continue;
            }
            break;
        case REMEDY_WAIT:
            if (link_pause(l, BUSY_PAUSE_MS))
                continue;
            break;
        case REMEDY_ROOM:
            link_reclaim(l, w->pinned ? w->pin : NULL);
            if (++tries < ROOM_TRIES && link_pause(l, tries == 1 ? 0 : ROOM_PAUSE_MS))
                continue;
            break;
        case REMEDY_NONE:
        default:
            break;
        }
        rc_settle(w, l->step, rc, l->conf);
        return;
    }
}
