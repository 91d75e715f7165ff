/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Keys that can be used only while the machine is what its owner has approved: the PCRs (TPM 2.0 Part 1,
 * section 17), in the bank of SHA-256, have values that a policy key, RSA-2048, has signed. What is signed is
 * the policy of TPM2_PolicyPCR, in the way of TPM2_PolicyAuthorize with an empty policyRef, as PS256; so new
 * values need a signature and no new key. */

#include "libhmsg/tpm/keyfile.h"

#define TPM_PCR_MAX 24u      /* PCRs of a TPM */
#define TPM_PCRS_MAX 8u      /* that one policy can name; TPM2_PCR_Read gives that many */
#define TPM_APPROVALS_MAX 8u /* of one policy */
#define TPM_PCR_SIZE 32u

/* Of the PCRs of a mask, the lowest first. */
typedef struct TpmPcrValues {
    uint8_t values[TPM_PCRS_MAX][TPM_PCR_SIZE];
} TpmPcrValues;

typedef struct TpmApproval {
    TpmPcrValues pcrs;
    uint8_t signature[TPM_RSA_SIZE];
} TpmApproval;

typedef struct TpmPcrPolicy {
    uint32_t mask;                            /* bit n: PCR n */
    uint8_t modulus[TPM_RSA_SIZE];            /* of the policy key */
    TpmApproval approvals[TPM_APPROVALS_MAX]; /* the newest last */
    unsigned n;
} TpmPcrPolicy;

/* 1 to TPM_PCRS_MAX of the TPM's PCRs. */
bool tpm_pcr_mask_is_valid(uint32_t mask);
unsigned tpm_pcr_count(uint32_t mask);
/* What the policy key signs: the digest itself, with no hash over it any more. */
int tpm_pcr_to_sign(uint32_t mask, const TpmPcrValues *v, uint8_t ret[static 32]);
/* The same before the last hash: the message whose PS256 signature is that approval, for who signs elsewhere.
 */
int tpm_pcr_message(uint32_t mask, const TpmPcrValues *v, uint8_t ret[static 32]);
/* The Name of the policy key, for TpmKeyPolicy. */
int tpm_pcr_signer(const uint8_t modulus[static TPM_RSA_SIZE], uint8_t ret[static TPM_NAME_SIZE]);
/* "PCR 4, 7": those that differ. ret_size: TPM_PCR_TEXT_SIZE. */
#define TPM_PCR_TEXT_SIZE 64u
void tpm_pcr_difference(uint32_t mask, const TpmPcrValues *a, const TpmPcrValues *b,
                        char ret[static TPM_PCR_TEXT_SIZE]);
