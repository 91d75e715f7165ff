/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "libhmsg/tpm/runner-internal.h"

#define SRK_HANDLE 0x81000001u
/* TPM 2.0 Part 2, section 7.4; the TSS's own macros shift into the sign. */
#define TRANSIENT_FIRST 0x80000000u
#define LOADED_SESSION_FIRST 0x02000000u
#define WIPE_LARGE 65536u
#define WIPE_LARGE_COUNT 16u
#define WIPE_SIZE_MAX 4096u
#define WIPE_STEP 16u /* malloc's */
#define WIPE_COUNT 2u /* of each size */
#define PASSWORD ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE

static bool same_name(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, TPM_NAME_SIZE) == 0; /* public */
}

static void flush(Link *l, ESYS_TR *object)
{
    if (*object != ESYS_TR_NONE && Esys_FlushContext(l->esys, *object) != TSS2_RC_SUCCESS) {
        (void)Esys_TR_Close(l->esys, object);
        l->left_over = true;
    }
    *object = ESYS_TR_NONE;
}

static size_t wipe_blocks(size_t size, size_t count, void **blocks)
{
    size_t n = 0;

    while (n < count && (blocks[n] = malloc(size)))
        bytes_wipe(blocks[n++], size);
    return n;
}

/* The TSS frees without wiping, and its sessions have held authorization values: takes what is free in the
 * heap of this thread, from large pieces to small ones, and wipes that. */
static void wipe_freed(void)
{
    void *blocks[WIPE_LARGE_COUNT + WIPE_SIZE_MAX / WIPE_STEP * WIPE_COUNT];
    size_t n = wipe_blocks(WIPE_LARGE, WIPE_LARGE_COUNT, blocks);

    for (size_t size = WIPE_SIZE_MAX; size > 0; size -= WIPE_STEP)
        n += wipe_blocks(size, WIPE_COUNT, blocks + n);
    while (n > 0)
        free(blocks[--n]);
    (void)malloc_trim(0); /* the heap was made larger for it */
}

/* With a resource manager all of ours has gone with the connection. */
static void tidy(Link *l)
{
    l->left_over = false;
    link_reclaim(l, l->srk_name);
}

void link_close(Link *l, bool broken)
{
    if (!l->esys)
        return;
    if (broken)
        l->left_over = true;
    else {
        flush(l, &l->external);
        flush(l, &l->key);
        flush(l, &l->session);
        flush(l, &l->policy);
        if (!l->srk_persistent)
            flush(l, &l->srk);
        if (l->left_over)
            tidy(l);
    }
    Esys_Finalize(&l->esys);
    tcti_close(TAKE_PTR(l->tcti));
    l->srk = l->session = l->policy = l->nv = l->external = l->key = ESYS_TR_NONE;
    l->loaded = tpm_keyfile_free(l->loaded);
    wipe_freed();
}

bool link_pause(const Link *l, int milliseconds)
{
    struct pollfd p = {.fd = l->cancel_fd, .events = POLLIN};
    return poll(&p, 1, milliseconds) <= 0;
}

static TSS2_RC connect_tpm(Link *l)
{
    l->step = STEP_OPEN;
    int r = tcti_open(l->conf, l->cancel_fd, l->counter, &l->tcti);
    if (r < 0)
        return r == -ENOMEM ? TSS2_ESYS_RC_MEMORY : TSS2_TCTI_RC_IO_ERROR;
    TSS2_RC rc = Esys_Initialize(&l->esys, l->tcti, NULL);
    if (rc != TSS2_RC_SUCCESS) {
        tcti_close(TAKE_PTR(l->tcti));
        l->esys = NULL;
    }
    l->srk = l->session = l->policy = l->nv = l->external = l->key = ESYS_TR_NONE;
    return rc;
}

/* The Name as computed from the public area, not as told: no one between us and the TPM can make it up. */
static TSS2_RC name_of(Link *l, ESYS_TR object, uint8_t ret[static TPM_NAME_SIZE], bool *ret_is_srk)
{
    TPM2B_PUBLIC *public = NULL;
    TSS2_RC rc = Esys_ReadPublic(l->esys, object, NO_SESSION, &public, NULL, NULL);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    if (ret_is_srk)
        *ret_is_srk = tpm_template_is_srk(public);
    if (tpm_public_name(public, ret) < 0)
        memset(ret, 0, TPM_NAME_SIZE);
    Esys_Free(public);
    return TSS2_RC_SUCCESS;
}

/* ESYS has it from TPM2_ReadPublic and has checked that it is the hash of the public area, which it keeps. */
static TSS2_RC esys_name(Link *l, ESYS_TR object, uint8_t ret[static TPM_NAME_SIZE])
{
    TPM2B_NAME *name = NULL;
    TSS2_RC rc = Esys_TR_GetName(l->esys, object, &name);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    if (name->size == TPM_NAME_SIZE)
        memcpy(ret, name->name, TPM_NAME_SIZE);
    else
        memset(ret, 0, TPM_NAME_SIZE);
    Esys_Free(name);
    return TSS2_RC_SUCCESS;
}

static TSS2_RC create_primary(Link *l, ESYS_TR *ret, uint8_t ret_name[static TPM_NAME_SIZE])
{
    static const TPM2B_SENSITIVE_CREATE sensitive;
    static const TPM2B_DATA outside;
    static const TPML_PCR_SELECTION pcrs;
    TPM2B_PUBLIC template, *public = NULL;

    tpm_template_srk(&template);
    TSS2_RC rc = Esys_CreatePrimary(l->esys, ESYS_TR_RH_OWNER, PASSWORD, &sensitive, &template, &outside,
                                    &pcrs, ret, &public, NULL, NULL, NULL);
    if (rc != TSS2_RC_SUCCESS) {
        *ret = ESYS_TR_NONE;
        return rc;
    }
    bool good = tpm_template_is_srk(public) && tpm_public_name(public, ret_name) == 0;
    Esys_Free(public);
    if (good)
        return TSS2_RC_SUCCESS;
    flush(l, ret);
    return TSS2_ESYS_RC_MALFORMED_RESPONSE;
}

/* The persistent key is used without more when it is the pinned one: pinned was that of a primary. Else only
 * when it is the primary. With a password on the owner hierarchy that cannot be found out; then it
 * must at least be a key made in this TPM from the same template. */
static TSS2_RC find_srk(Link *l, const uint8_t *pin)
{
    uint8_t stored[TPM_NAME_SIZE] = {0}, primary[TPM_NAME_SIZE] = {0};
    ESYS_TR persistent = ESYS_TR_NONE, transient = ESYS_TR_NONE;

    l->step = STEP_SRK;
    TSS2_RC rc = Esys_TR_FromTPMPublic(l->esys, SRK_HANDLE, NO_SESSION, &persistent);
    if (rc_plain(rc) == TPM2_RC_INITIALIZE) { /* a TPM without firmware that starts it up: an emulator */
        rc = Esys_Startup(l->esys, TPM2_SU_CLEAR);
        if (rc == TSS2_RC_SUCCESS || rc_plain(rc) == TPM2_RC_INITIALIZE)
            rc = Esys_TR_FromTPMPublic(l->esys, SRK_HANDLE, NO_SESSION, &persistent);
    }
    bool there = rc == TSS2_RC_SUCCESS;
    if (!there && rc_plain(rc) != TPM2_RC_HANDLE)
        return rc;
    if (there && (rc = esys_name(l, persistent, stored)) != TSS2_RC_SUCCESS)
        return rc;
    if (!there || !pin || !same_name(stored, pin)) {
        rc = create_primary(l, &transient, primary);
        bool is_srk = false;
        if (there && rc_is_auth(rc)) {
            TSS2_RC reason = rc;
            rc = name_of(l, persistent, primary, &is_srk);
            if (rc == TSS2_RC_SUCCESS && !is_srk)
                rc = reason;
        }
        if (rc != TSS2_RC_SUCCESS)
            return rc;
    }
    l->srk_persistent = there && (transient == ESYS_TR_NONE || same_name(stored, primary));
    if (l->srk_persistent) {
        flush(l, &transient);
        l->srk = persistent;
        memcpy(l->srk_name, stored, TPM_NAME_SIZE);
    } else {
        if (there)
            (void)Esys_TR_Close(l->esys, &persistent);
        l->srk = transient;
        memcpy(l->srk_name, primary, TPM_NAME_SIZE);
    }
    return TSS2_RC_SUCCESS;
}

TSS2_RC link_open(Link *l, const uint8_t *pin)
{
    TSS2_RC rc = l->esys ? TSS2_RC_SUCCESS : connect_tpm(l);
    if (rc == TSS2_RC_SUCCESS && l->srk == ESYS_TR_NONE) {
        rc = find_srk(l, pin);
        if (rc == TSS2_RC_SUCCESS && l->left_over)
            tidy(l);
    }
    return rc;
}

/* Salted to the SRK and unbound. */
static TSS2_RC start_session(Link *l, TPM2_SE type, ESYS_TR *session)
{
    static const TPMT_SYM_DEF aes = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};

    l->step = STEP_SESSION;
    if (*session != ESYS_TR_NONE)
        return TSS2_RC_SUCCESS;
    TSS2_RC rc = Esys_StartAuthSession(l->esys, l->srk, ESYS_TR_NONE, NO_SESSION, NULL, type, &aes,
                                       TPM2_ALG_SHA256, session);
    if (rc != TSS2_RC_SUCCESS)
        *session = ESYS_TR_NONE;
    return rc;
}

TSS2_RC link_session(Link *l, TPMA_SESSION attributes)
{
    TSS2_RC rc = start_session(l, TPM2_SE_HMAC, &l->session);
    return rc == TSS2_RC_SUCCESS ? Esys_TRSess_SetAttributes(l->esys, l->session,
                                                             attributes | TPMA_SESSION_CONTINUESESSION, 0xff)
                                 : rc;
}

TSS2_RC link_policy(Link *l)
{
    l->policy_blank = l->policy_blank || l->policy == ESYS_TR_NONE;
    TSS2_RC rc = start_session(l, TPM2_SE_POLICY, &l->policy);
    if (rc == TSS2_RC_SUCCESS && !l->policy_blank)
        rc = Esys_PolicyRestart(l->esys, l->policy, NO_SESSION);
    l->policy_blank = rc == TSS2_RC_SUCCESS;
    return rc;
}

/* The same Name may come with another authorization value, which is in the sealed part. */
static bool same_key(const TpmKeyFile *a, const TpmKeyFile *b)
{
    size_t n = 0, m = 0;
    const uint8_t *p = tpm_keyfile_private(a, &n), *q = tpm_keyfile_private(b, &m);
    return a == b || (same_name(tpm_keyfile_name(a), tpm_keyfile_name(b)) && n == m &&
                      memcmp(p, q, n) == 0); /* public */
}

/* The blob is sealed and the loaded key's Name is checked at its use, so no session protects this command. */
TSS2_RC link_load(Link *l, TpmKeyFile *key)
{
    TPM2B_PUBLIC public = {0};
    TPM2B_PRIVATE private = {0};
    size_t size, offset = 0;

    l->step = STEP_LOAD;
    if (l->key != ESYS_TR_NONE && same_key(l->loaded, key))
        return TSS2_RC_SUCCESS;
    flush(l, &l->key);
    const uint8_t *p = tpm_keyfile_public(key, &size);
    TSS2_RC rc = Tss2_MU_TPM2B_PUBLIC_Unmarshal(p, size, &offset, &public);
    p = tpm_keyfile_private(key, &size);
    offset = 0;
    if (rc == TSS2_RC_SUCCESS)
        rc = Tss2_MU_TPM2B_PRIVATE_Unmarshal(p, size, &offset, &private);
    if (rc == TSS2_RC_SUCCESS)
        rc = Esys_Load(l->esys, l->srk, PASSWORD, &private, &public, &l->key);
    if (rc != TSS2_RC_SUCCESS) {
        l->key = ESYS_TR_NONE;
        return rc;
    }
    tpm_keyfile_free(l->loaded);
    l->loaded = tpm_keyfile_ref(key);
    return TSS2_RC_SUCCESS;
}

TSS2_RC link_load_external(Link *l, const TPM2B_PUBLIC *public)
{
    l->had_external = tpm_public_name(public, l->external_name) == 0;
    TSS2_RC rc = Esys_LoadExternal(l->esys, NO_SESSION, NULL, public, ESYS_TR_RH_OWNER, &l->external);
    if (rc != TSS2_RC_SUCCESS)
        l->external = ESYS_TR_NONE;
    return rc;
}

void link_drop_external(Link *l)
{
    flush(l, &l->external);
}

TSS2_RC link_authorize(Link *l, const Secret *auth)
{
    TPM2B_AUTH value = {.size = auth ? (uint16_t)secret_size(auth) : 0};
    if (auth)
        memcpy(value.buffer, secret_bytes(auth), value.size);
    TSS2_RC rc = Esys_TR_SetAuth(l->esys, l->key, &value);
    bytes_wipe(&value, sizeof(value));
    return rc;
}

/* Is this object the SRK, of the shape of our keys, or the last external one? */
static bool is_ours(Link *l, ESYS_TR object, const uint8_t *pin)
{
    TPM2B_PUBLIC *public = NULL;
    uint8_t name[TPM_NAME_SIZE];
    const uint8_t *expected = l->srk != ESYS_TR_NONE ? l->srk_name : pin;
    bool ours = false;

    if (Esys_ReadPublic(l->esys, object, NO_SESSION, &public, NULL, NULL) != TSS2_RC_SUCCESS) {
        l->left_over = true;
        return false;
    }
    if (tpm_template_is_key(public))
        ours = true;
    else if (tpm_template_is_srk(public))
        ours = tpm_public_name(public, name) == 0 && expected && same_name(name, expected);
    else if (l->had_external)
        ours = tpm_public_name(public, name) == 0 && same_name(name, l->external_name);
    Esys_Free(public);
    return ours;
}

/* The handle of an object that ESYS knows. */
static TPM2_HANDLE handle_of(Link *l, ESYS_TR object)
{
    TPM2_HANDLE handle = 0;
    return object != ESYS_TR_NONE && Esys_TR_GetTpmHandle(l->esys, object, &handle) == TSS2_RC_SUCCESS
               ? handle
               : 0;
}

static void flush_handle(Link *l, TPM2_HANDLE handle, bool session, const uint8_t *pin)
{
    ESYS_TR object = ESYS_TR_NONE;
    if (handle == handle_of(l, l->srk) || handle == handle_of(l, l->session) ||
        handle == handle_of(l, l->policy))
        return;
    if (Esys_TR_FromTPMPublic(l->esys, handle, NO_SESSION, &object) != TSS2_RC_SUCCESS) {
        l->left_over = true;
        return;
    }
    if (session || is_ours(l, object, pin))
        flush(l, &object);
    else
        (void)Esys_TR_Close(l->esys, &object);
}

static void flush_all(Link *l, TPM2_HANDLE first, bool session, const uint8_t *pin)
{
    TPMS_CAPABILITY_DATA *data = NULL;
    if (Esys_GetCapability(l->esys, NO_SESSION, TPM2_CAP_HANDLES, first, TPM2_MAX_CAP_HANDLES, NULL, &data) !=
        TSS2_RC_SUCCESS) {
        l->left_over = true;
        return;
    }
    for (uint32_t i = 0; i < data->data.handles.count && i < TPM2_MAX_CAP_HANDLES; i++)
        flush_handle(l, data->data.handles.handle[i], session, pin);
    Esys_Free(data);
}

/* Without resource manager a TPM keeps what a process that was killed had loaded, and only we can know that
 * it was ours. Loaded sessions have no owner; one that nobody uses while we hold the connection is
 * left over. */
void link_reclaim(Link *l, const uint8_t *pin)
{
    if (!l->esys)
        return;
    flush(l, &l->key);
    if (!tcti_is_bare(l->conf))
        return;
    flush_all(l, TRANSIENT_FIRST, false, pin);
    if (l->session == ESYS_TR_NONE || l->step == STEP_SESSION)
        flush_all(l, LOADED_SESSION_FIRST, true, pin);
}
