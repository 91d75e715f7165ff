/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <tss2/tss2_tpm2_types.h>

#include "libhmsg/base/secret.h"
#include "libhmsg/tpm/keyfile.h"

#define TPM_DIGEST_SIZE 32u
#define TPM_COUNTER_SIZE 8u
#define TPM_POLICY_DER_MAX 92u

/* The public areas that we ask for, with an empty unique field. guarded: the TPM's dictionary-attack
 * protection counts wrong passwords. */
void tpm_template_key(TpmKeyUse use, bool guarded, TPM2B_PUBLIC *ret);
/* Makes it one for a key from outside, which other TPMs may have as well. */
void tpm_template_import(TPM2B_PUBLIC *template);
/* All that a key of ours may have, but for what it is bound to; and then what tpm2-tools and tpm2-openssl
 * make: one that decrypts and signs, without a scheme. */
#define KEY_TEMPLATES_OURS 8u
#define KEY_TEMPLATES 10u
TpmKeyUse tpm_template_nth(unsigned n, TPM2B_PUBLIC *ret);
/* What holds TPM_SEALED_SIZE bytes: keyedhash without a scheme, whose unique field is a digest. */
void tpm_template_sealed(TPM2B_PUBLIC *ret);
int tpm_sealed_from_blobs(const void *public, size_t public_size, const void *private, size_t private_size,
                          const TpmKeyPolicy *policy, TpmKeyFile **ret);
/* The storage key: ECC P-256, as the TSS2 key file format has it (unique x and y of size 0). */
void tpm_template_srk(TPM2B_PUBLIC *ret);
/* Is this public area the template but for its unique field? */
bool tpm_template_is_srk(const TPM2B_PUBLIC *public);
/* The same for a key of ours, of either use, guarded or not, from outside or not, bound (to whatever) or
 * not; and for what is sealed. */
bool tpm_template_is_key(const TPM2B_PUBLIC *public);
/* The Name of a public area with nameAlg SHA-256 (TPM 2.0 Part 1, section 16). */
int tpm_public_name(const TPM2B_PUBLIC *public, uint8_t ret[static TPM_NAME_SIZE]);

/* Binds a key that is to be made: clears userWithAuth, sets authPolicy as goes with noDA. */
int tpm_template_bind(const TpmKeyPolicy *p, TPM2B_PUBLIC *template);
/* Public area of a counter before its first increment, and its Name from then on. */
void tpm_counter_public(uint32_t index, TPM2B_NV_PUBLIC *ret);
int tpm_counter_name(uint32_t index, uint8_t ret[static TPM_NAME_SIZE]);
/* authPolicy: see keyfile.h. */
int tpm_policy_digest(const TpmKeyPolicy *p, bool guarded, uint8_t ret[static TPM_DIGEST_SIZE]);
/* Encrypts a TPM2B_SENSITIVE for the storage key parent, as TPM2_Import takes it without an inner wrapper;
 * name: of the key's public area. -EBADMSG: parent is no point of the curve. */
int tpm_duplicate(const TPM2B_PUBLIC *parent, const uint8_t name[static TPM_NAME_SIZE],
                  const Secret *sensitive, TPM2B_PRIVATE *ret, TPM2B_ENCRYPTED_SECRET *ret_seed);

/* TPMKey's element policy; both return its size. from_der returns 0 unless der begins with exactly one. */
size_t tpm_policy_to_der(const TpmKeyPolicy *p, bool guarded, uint8_t ret[static TPM_POLICY_DER_MAX]);
size_t tpm_policy_from_der(const uint8_t *der, size_t n, TpmKeyPolicy *ret);

/* software.c */
#define SOFTWARE_SIZE_MAX 1536u /* bytes of EncryptedPrivateKeyInfo */
bool software_fits(const void *encrypted, size_t n);
int software_to_pem(const TpmKeyFile *k, Buf *ret);
