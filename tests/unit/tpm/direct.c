/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/tpm/direct.h"

#include <string.h>

#include "libhmsg/tpm/keyfile-internal.h"

#define NO_SESSION ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE
#define PASSWORD ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE
#define MUST(expression) g_assert_cmphex((expression), ==, TSS2_RC_SUCCESS)

static const TPM2B_DATA no_data;
static const TPML_PCR_SELECTION no_pcrs;

void direct_open(Direct *d, const char *tcti)
{
    MUST(Tss2_TctiLdr_Initialize(tcti, &d->tcti));
    MUST(Esys_Initialize(&d->esys, d->tcti, NULL));
}

void direct_close(Direct *d)
{
    Esys_Finalize(&d->esys);
    Tss2_TctiLdr_Finalize(&d->tcti);
}

static ESYS_TR primary(Direct *d, const TPM2B_PUBLIC *template, const TPM2B_SENSITIVE_CREATE *sensitive)
{
    ESYS_TR object;
    MUST(Esys_CreatePrimary(d->esys, ESYS_TR_RH_OWNER, PASSWORD, sensitive, template, &no_data, &no_pcrs,
                            &object, NULL, NULL, NULL, NULL));
    return object;
}

ESYS_TR direct_primary(Direct *d, bool other)
{
    static const TPM2B_SENSITIVE_CREATE sensitive;
    TPM2B_PUBLIC template;
    tpm_template_srk(&template);
    template.publicArea.unique.ecc.x.size = other ? 1 : 0;
    return primary(d, &template, &sensitive);
}

void direct_persist(Direct *d, ESYS_TR object)
{
    ESYS_TR persistent;
    MUST(Esys_EvictControl(d->esys, ESYS_TR_RH_OWNER, object, PASSWORD, 0x81000001, &persistent));
    MUST(Esys_TR_Close(d->esys, &persistent));
}

void direct_flush(Direct *d, ESYS_TR object)
{
    MUST(Esys_FlushContext(d->esys, object));
}

ESYS_TR direct_session(Direct *d)
{
    static const TPMT_SYM_DEF none = {.algorithm = TPM2_ALG_NULL};
    ESYS_TR session;
    MUST(Esys_StartAuthSession(d->esys, ESYS_TR_NONE, ESYS_TR_NONE, NO_SESSION, NULL, TPM2_SE_HMAC, &none,
                               TPM2_ALG_SHA256, &session));
    return session;
}

unsigned direct_handles(Direct *d, TPM2_HANDLE first)
{
    TPMS_CAPABILITY_DATA *data;
    MUST(Esys_GetCapability(d->esys, NO_SESSION, TPM2_CAP_HANDLES, first, TPM2_MAX_CAP_HANDLES, NULL, &data));
    unsigned n = data->data.handles.count;
    Esys_Free(data);
    return n;
}

void direct_owner_password(Direct *d, const char *password)
{
    TPM2B_AUTH auth = {.size = (UINT16)strlen(password)};
    memcpy(auth.buffer, password, auth.size);
    MUST(Esys_HierarchyChangeAuth(d->esys, ESYS_TR_RH_OWNER, PASSWORD, &auth));
}

void direct_lock_out(Direct *d)
{
    static const TPM2B_AUTH wrong = {.size = 5, .buffer = "wrong"};
    TPM2B_SENSITIVE_CREATE sensitive = {.sensitive.userAuth = {.size = 5, .buffer = "right"}};
    TPM2B_PUBLIC template;

    tpm_template_srk(&template);
    template.publicArea.objectAttributes &= ~TPMA_OBJECT_NODA;
    ESYS_TR object = primary(d, &template, &sensitive);
    MUST(Esys_DictionaryAttackParameters(d->esys, ESYS_TR_RH_LOCKOUT, PASSWORD, 1, 1000, 2000));
    MUST(Esys_TR_SetAuth(d->esys, object, &wrong));
    TPM2B_PUBLIC child;
    TPM2B_SENSITIVE_CREATE empty = {0};
    TPM2B_PUBLIC *public = NULL;
    TPM2B_PRIVATE *private = NULL;
    tpm_template_key(TPM_KEY_DECRYPT, false, &child);
    g_assert_cmphex(Esys_Create(d->esys, object, PASSWORD, &empty, &child, &no_data, &no_pcrs, &private,
                                &public, NULL, NULL, NULL),
                    !=, TSS2_RC_SUCCESS);
    direct_flush(d, object);
}

void direct_forgive(Direct *d)
{
    MUST(Esys_DictionaryAttackLockReset(d->esys, ESYS_TR_RH_LOCKOUT, PASSWORD));
}

void direct_clear(Direct *d)
{
    MUST(Esys_Clear(d->esys, ESYS_TR_RH_LOCKOUT, PASSWORD));
}

ESYS_TR direct_load_rsa(Direct *d, const void *modulus, const void *prime, TPMI_ALG_HASH hash)
{
    TPM2B_PUBLIC public;
    TPM2B_SENSITIVE sensitive = {.sensitiveArea = {.sensitiveType = TPM2_ALG_RSA}};
    ESYS_TR key;

    tpm_template_key(TPM_KEY_DECRYPT, false, &public);
    public.publicArea.objectAttributes = TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_DECRYPT | TPMA_OBJECT_NODA;
    public.publicArea.parameters.rsaDetail.scheme.details.oaep.hashAlg = hash;
    public.publicArea.unique.rsa.size = TPM_RSA_SIZE;
    memcpy(public.publicArea.unique.rsa.buffer, modulus, TPM_RSA_SIZE);
    sensitive.sensitiveArea.sensitive.rsa.size = TPM_RSA_SIZE / 2;
    memcpy(sensitive.sensitiveArea.sensitive.rsa.buffer, prime, TPM_RSA_SIZE / 2);
    return Esys_LoadExternal(d->esys, NO_SESSION, &sensitive, &public, ESYS_TR_RH_NULL, &key) ==
                   TSS2_RC_SUCCESS
               ? key
               : ESYS_TR_NONE;
}

int direct_decrypt(Direct *d, ESYS_TR key, const void *ciphertext, size_t n, guint8 ret[static 256])
{
    static const TPMT_RSA_DECRYPT scheme_of_key = {.scheme = TPM2_ALG_NULL};
    TPM2B_PUBLIC_KEY_RSA in = {.size = (UINT16)n}, *out = NULL;

    if (n > TPM_RSA_SIZE)
        return -1;
    memcpy(in.buffer, ciphertext, n);
    if (Esys_RSA_Decrypt(d->esys, key, PASSWORD, &in, &scheme_of_key, &no_data, &out) != TSS2_RC_SUCCESS)
        return -1;
    int size = out->size;
    memcpy(ret, out->buffer, out->size);
    Esys_Free(out);
    return size;
}
