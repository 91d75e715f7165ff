/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <tss2/tss2_tpm2_types.h>

#include "libhmsg/tpm/keyfile.h"

/* The public areas that we ask for, with an empty unique field. guarded: the TPM's dictionary-attack
 * protection counts wrong passwords. */
void tpm_template_key(TpmKeyUse use, bool guarded, TPM2B_PUBLIC *ret);
/* The storage key: ECC P-256, as the TSS2 key file format has it (unique x and y of size 0). */
void tpm_template_srk(TPM2B_PUBLIC *ret);
/* Is this public area the template but for its unique field? */
bool tpm_template_is_srk(const TPM2B_PUBLIC *public);
/* The same for a key of ours, of either use, guarded or not. */
bool tpm_template_is_key(const TPM2B_PUBLIC *public);
/* The Name of a public area with nameAlg SHA-256 (TPM 2.0 Part 1, section 16). */
int tpm_public_name(const TPM2B_PUBLIC *public, uint8_t ret[static TPM_NAME_SIZE]);
