/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/tpm/pcr.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "libhmsg/tpm/pcr-internal.h"

#define POLICY_INPUT_MAX 256u

unsigned tpm_pcr_count(uint32_t mask)
{
    unsigned n = 0;

    for (; mask != 0; mask &= mask - 1)
        n++;
    return n;
}

bool tpm_pcr_mask_is_valid(uint32_t mask)
{
    return mask != 0 && mask >> TPM_PCR_MAX == 0 && tpm_pcr_count(mask) <= TPM_PCRS_MAX;
}

void tpm_pcr_selection(uint32_t mask, TPML_PCR_SELECTION *ret)
{
    *ret = (TPML_PCR_SELECTION){.count = 1};
    ret->pcrSelections[0].hash = TPM2_ALG_SHA256;
    ret->pcrSelections[0].sizeofSelect = TPM_PCR_MAX / 8;
    for (unsigned i = 0; i < TPM_PCR_MAX / 8; i++)
        ret->pcrSelections[0].pcrSelect[i] = (uint8_t)(mask >> (8 * i));
}

static int sha256(const void *data, size_t n, uint8_t ret[static TPM_DIGEST_SIZE])
{
    return EVP_Q_digest(NULL, "SHA256", NULL, data, n, ret, NULL) == 1 ? 0 : -ENOMEM;
}

int tpm_pcr_digest(uint32_t mask, const TpmPcrValues *v, uint8_t ret[static TPM_DIGEST_SIZE])
{
    return sha256(v->values, (size_t)tpm_pcr_count(mask) * TPM_PCR_SIZE, ret);
}

int tpm_pcr_policy_digest(uint32_t mask, const TpmPcrValues *v, uint8_t ret[static TPM_DIGEST_SIZE])
{
    static const uint8_t before[TPM_DIGEST_SIZE],
        code[] = {0, 0, TPM2_CC_PolicyPCR >> 8, TPM2_CC_PolicyPCR & 0xff};
    _cleanup_(buf_done) Buf input = BUF_MAX(POLICY_INPUT_MAX);
    TPML_PCR_SELECTION selection;
    uint8_t marshalled[sizeof(TPML_PCR_SELECTION)], digest[TPM_DIGEST_SIZE];
    size_t size = 0;
    int r = tpm_pcr_digest(mask, v, digest);

    tpm_pcr_selection(mask, &selection);
    if (r == 0 && Tss2_MU_TPML_PCR_SELECTION_Marshal(&selection, marshalled, sizeof(marshalled), &size) !=
                      TSS2_RC_SUCCESS)
        r = -ENOMEM;
    if (r == 0)
        r = buf_append(&input, before, sizeof(before));
    if (r == 0)
        r = buf_append(&input, code, sizeof(code));
    if (r == 0)
        r = buf_append(&input, marshalled, size);
    if (r == 0)
        r = buf_append(&input, digest, sizeof(digest));
    return r == 0 ? sha256(input.data, input.size, ret) : r;
}

int tpm_pcr_message(uint32_t mask, const TpmPcrValues *v, uint8_t ret[static 32])
{
    return tpm_pcr_mask_is_valid(mask) ? tpm_pcr_policy_digest(mask, v, ret) : -EINVAL;
}

int tpm_pcr_to_sign(uint32_t mask, const TpmPcrValues *v, uint8_t ret[static 32])
{
    uint8_t policy[TPM_DIGEST_SIZE];
    int r = tpm_pcr_message(mask, v, policy);

    return r == 0 ? sha256(policy, sizeof(policy), ret) : r; /* the policyRef behind it is empty */
}

void tpm_pcr_signer_public(const uint8_t modulus[static TPM_RSA_SIZE], TPM2B_PUBLIC *ret)
{
    *ret = (TPM2B_PUBLIC){.publicArea = {
                              .type = TPM2_ALG_RSA,
                              .nameAlg = TPM2_ALG_SHA256,
                              .objectAttributes = TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_SIGN_ENCRYPT,
                              .parameters.rsaDetail = {.symmetric.algorithm = TPM2_ALG_NULL,
                                                       .scheme.scheme = TPM2_ALG_NULL,
                                                       .keyBits = TPM_RSA_SIZE * 8u},
                          }};
    ret->publicArea.unique.rsa.size = TPM_RSA_SIZE;
    memcpy(ret->publicArea.unique.rsa.buffer, modulus, TPM_RSA_SIZE);
}

int tpm_pcr_signer(const uint8_t modulus[static TPM_RSA_SIZE], uint8_t ret[static TPM_NAME_SIZE])
{
    TPM2B_PUBLIC public;

    tpm_pcr_signer_public(modulus, &public);
    return tpm_public_name(&public, ret);
}

void tpm_pcr_difference(uint32_t mask, const TpmPcrValues *a, const TpmPcrValues *b,
                        char ret[static TPM_PCR_TEXT_SIZE])
{
    int at = snprintf(ret, TPM_PCR_TEXT_SIZE, "PCR");
    unsigned n = 0, found = 0;

    for (unsigned pcr = 0; pcr < TPM_PCR_MAX && n < TPM_PCRS_MAX; pcr++) {
        if ((mask >> pcr & 1) == 0)
            continue;
        if (memcmp(a->values[n], b->values[n], TPM_PCR_SIZE) != 0) /* public */
            at += snprintf(ret + at, TPM_PCR_TEXT_SIZE - (size_t)at, "%s %u", found++ > 0 ? "," : "", pcr);
        n++;
    }
}
