/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* TSS2 PRIVATE KEY files (ASN.1 TPMKey, loadable key 2.23.133.10.1.3): an RSA-2048 key of ours that only the
 * TPM that made it can load. What is in them is public or sealed by the TPM. Reading is strict DER and
 * refuses with -EBADMSG every key that is not exactly of one of the two kinds. Immutable, reference-counted;
 * references may be taken and dropped in any thread.
 *
 * A key that is bound to a generation has userWithAuth clear and the policy (TPM 2.0 Part 1, section 19.7)
 * TPM2_PolicyNV(counter <= generation), then TPM2_PolicyAuthValue when it was made with an authorization
 * value; before it TPM2_PolicyAuthorize when it is bound to PCRs. In its file that is TPMKey's policy [1]
 * EXPLICIT SEQUENCE OF TPMPolicy, one for each command: SEQUENCE { [0] EXPLICIT INTEGER commandCode, [1]
 * EXPLICIT OCTET STRING }. The octets of TPM2_PolicyNV (0x149) are what it is called with: nvIndex (4 bytes),
 * TPM2B_OPERAND (size 8, generation), offset 0 (2), TPM2_EO_UNSIGNED_LE (2); TPM2_PolicyAuthValue (0x16b) has
 * none; TPM2_PolicyAuthorize (0x16a) has the Name of the policy key (34 bytes), and an empty policyRef.
 * Reading computes the digest from it, which must be the key's authPolicy. */

#include "libhmsg/base/buf.h"

#define TPM_KEYFILE_PEM_MAX 8192u
#define TPM_KEYFILE_DER_MAX 4096u
#define TPM_NAME_SIZE 34u /* nameAlg (SHA-256), then the hash of the public area */
#define TPM_RSA_SIZE 256u /* modulus, ciphertext, signature */

typedef enum TpmKeyUse {
    TPM_KEY_DECRYPT, /* OAEP SHA-256, empty label */
    TPM_KEY_SIGN,    /* RSAPSS SHA-256 */
    TPM_SEALED,      /* no key: TPM_SEALED_SIZE bytes that the TPM gives out again */
} TpmKeyUse;
#define TPM_SEALED_SIZE 32u

/* Usable while the counter at that NV index (tpm_runner_counter_new) is not above generation. */
typedef struct TpmKeyPolicy {
    uint32_t index;
    uint64_t generation;
    bool measured; /* and while the PCRs are what the signer has approved (pcr.h) */
    uint8_t signer[TPM_NAME_SIZE];
} TpmKeyPolicy;
bool tpm_policy_equal(const TpmKeyPolicy *a, const TpmKeyPolicy *b); /* both may be NULL */

typedef struct TpmKeyFile TpmKeyFile;

int tpm_keyfile_from_pem(const char *text, size_t n, TpmKeyFile **ret);
int tpm_keyfile_from_der(const void *der, size_t n, TpmKeyFile **ret);
/* From what TPM2_Create gave: marshalled TPM2B_PUBLIC and TPM2B_PRIVATE. needs_auth: its authorization value
 * is not empty. policy: NULL for a key without. */
int tpm_keyfile_from_blobs(const void *public, size_t public_size, const void *private, size_t private_size,
                           bool needs_auth, const TpmKeyPolicy *policy, TpmKeyFile **ret);
/* What is sealed, which is never taken for a key nor a key for it: TPMKey of the type sealed data
 * (2.23.133.10.1.5). Without an authorization value; bound or not. Its spki is all zero. */
int tpm_sealed_from_der(const void *der, size_t n, TpmKeyFile **ret);
TpmKeyFile *tpm_keyfile_ref(TpmKeyFile *k);
TpmKeyFile *tpm_keyfile_free(TpmKeyFile *k); /* drops one reference */
DEFINE_CLEANUP(TpmKeyFile *, tpm_keyfile_free)

int tpm_keyfile_to_pem(const TpmKeyFile *k, Buf *ret);
int tpm_keyfile_to_der(const TpmKeyFile *k, Buf *ret); /* of what is sealed as well */

TpmKeyUse tpm_keyfile_use(const TpmKeyFile *k);
/* emptyAuth is not TRUE in the file: the key wants an authorization value. Wrong ones are counted by the TPM.
 */
bool tpm_keyfile_needs_auth(const TpmKeyFile *k);
/* noDA is clear: the TPM would count them. */
bool tpm_keyfile_is_guarded(const TpmKeyFile *k);
/* It comes from outside (TPM2_Import): fixedTPM, fixedParent and sensitiveDataOrigin are clear. No policy
 * lets TPM2_Duplicate take it out of the TPM, but there may be copies of it as it was before. */
bool tpm_keyfile_is_imported(const TpmKeyFile *k);
/* Another program had the TPM make it, as tpm2-tools and tpm2-openssl do: it has no scheme of its own, so
 * that whoever may use it can do so with any; it signs as well; it has neither an authorization value nor a
 * policy, and gets none: it does not count as guarded. It counts as imported. */
bool tpm_keyfile_is_open(const TpmKeyFile *k);
/* The PEM of such a program; TRUE may be written otherwise than DER has it. */
int tpm_keyfile_from_others(const char *text, size_t n, TpmKeyFile **ret);
/* No TPM has it (libhmsg/tpm/software.h): needs_auth and is_guarded are true, there is no policy, Name and
 * public are empty, and private is EncryptedPrivateKeyInfo. */
bool tpm_keyfile_is_software(const TpmKeyFile *k);
/* The generation that it is bound to, owned by k; NULL: none. */
const TpmKeyPolicy *tpm_keyfile_policy(const TpmKeyFile *k);
/* TPM_NAME_SIZE bytes. */
const uint8_t *tpm_keyfile_name(const TpmKeyFile *k);
/* DER SubjectPublicKeyInfo (rsaEncryption, e = 65537), owned by k. */
const uint8_t *tpm_keyfile_spki(const TpmKeyFile *k, size_t *ret_size);
/* The modulus in such a thing; -EBADMSG: it is another one. */
int tpm_modulus_from_spki(const void *spki, size_t n, uint8_t ret[static TPM_RSA_SIZE]);
#define TPM_SPKI_SIZE 294u
void tpm_spki_from_modulus(const uint8_t modulus[static TPM_RSA_SIZE], uint8_t ret[static TPM_SPKI_SIZE]);
/* Marshalled TPM2B_PUBLIC and TPM2B_PRIVATE, owned by k. */
const uint8_t *tpm_keyfile_public(const TpmKeyFile *k, size_t *ret_size);
const uint8_t *tpm_keyfile_private(const TpmKeyFile *k, size_t *ret_size);
