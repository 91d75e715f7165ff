/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What pcr.c has for the work in the TPM. */

#include "libhmsg/tpm/keyfile-internal.h"
#include "libhmsg/tpm/pcr.h"

void tpm_pcr_selection(uint32_t mask, TPML_PCR_SELECTION *ret);
/* The digest over the values that TPM2_PolicyPCR takes, and the policy's after it. */
int tpm_pcr_digest(uint32_t mask, const TpmPcrValues *v, uint8_t ret[static TPM_DIGEST_SIZE]);
int tpm_pcr_policy_digest(uint32_t mask, const TpmPcrValues *v, uint8_t ret[static TPM_DIGEST_SIZE]);
/* The public area of the policy key. */
void tpm_pcr_signer_public(const uint8_t modulus[static TPM_RSA_SIZE], TPM2B_PUBLIC *ret);
