/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Key files for machines without a TPM: an RSA-2048 key as EncryptedPrivateKeyInfo (RFC 5958), PBES2
 * (RFC 8018) with scrypt (RFC 7914) and AES-256-CBC, and behind it the public key, each as a PEM block.
 * "openssl pkey" reads it, which takes at most 32 MiB for scrypt: that sets the cost. The caller derives the
 * AES key from the password, with the salt that is in the file.
 *
 * The private key is decrypted for each use and wiped after it. Meanwhile it is in locked memory, and copies
 * that OpenSSL makes for the computation are in ordinary memory; those it wipes as well. */

#include "libhmsg/base/secret.h"
#include "libhmsg/tpm/keyfile.h"

#define SOFTWARE_COST 14u /* log2 of N */
#define SOFTWARE_R 8u
#define SOFTWARE_P 8u
#define SOFTWARE_SALT_SIZE 16u
#define SOFTWARE_KEY_SIZE 32u /* bytes of the AES key */

/* encrypted: EncryptedPrivateKeyInfo, exactly of this form. -EBADMSG: it is not, or spki is no public key of
 * ours. That both belong together is seen at the first use. */
int tpm_keyfile_from_software(TpmKeyUse use, const void *spki, size_t spki_size, const void *encrypted,
                              size_t n, TpmKeyFile **ret);
/* The file does not say what the key is for. */
int software_from_pem(const char *text, size_t n, TpmKeyUse use, TpmKeyFile **ret);
/* SOFTWARE_SALT_SIZE bytes, owned by k. */
const uint8_t *software_salt(const TpmKeyFile *k);

/* key is the AES key in all of these, of SOFTWARE_KEY_SIZE bytes. HMSG_ERROR_LOCKED: it is another one.
 * -EBADMSG: the private key is not that of the public key. */
int software_generate(TpmKeyUse use, const uint8_t salt[static SOFTWARE_SALT_SIZE], const Secret *key,
                      TpmKeyFile **ret);
/* The same RSA key under another AES key. */
int software_encrypt_again(const TpmKeyFile *k, const Secret *key,
                           const uint8_t salt[static SOFTWARE_SALT_SIZE], const Secret *next,
                           TpmKeyFile **ret);
/* HMSG_ERROR_AUTHENTICATION_FAILED: OAEP says no. */
int software_decrypt(const TpmKeyFile *k, const Secret *key, const void *ciphertext, size_t n, Secret **ret);
/* The same with SHA-1 for OAEP. */
int software_decrypt_oaep_sha1(const TpmKeyFile *k, const Secret *key, const void *ciphertext, size_t n,
                               Secret **ret);
int software_sign(const TpmKeyFile *k, const Secret *key, const uint8_t digest[static 32],
                  uint8_t ret[static TPM_RSA_SIZE]);
