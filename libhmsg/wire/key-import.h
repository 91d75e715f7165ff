/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An existing private key as people keep it: PEM with PKCS#8, encrypted or not (RFC 5958), or PKCS#1
 * ("RSA PRIVATE KEY"). Only RSA-2048 with the exponent 65537 and two primes. */

#include "libhmsg/wire/key.h"

#define KEY_IMPORT_SIZE_MAX 16384u         /* bytes of the PEM */
#define KEY_IMPORT_ITERATIONS_MAX 10000000 /* of PBKDF2: seconds */
#define KEY_IMPORT_SCRYPT_MAX 8388608u     /* N r p of scrypt: the same */
#define KEY_IMPORT_PRIME_SIZE 128u
#define KEY_IMPORT_WHY_SIZE 200u

/* The public key, and one of the two primes, big-endian. password (NULL: none) is taken as it is. Takes up to
 * seconds. INVALID_ARGS: the key cannot be taken; LOCKED: it is encrypted, and the password is missing or
 * wrong. Then *ret_why is a sentence without full stop. */
int key_import(const Secret *pem, const Secret *password, RsaKey **ret_public, Secret **ret_prime,
               char ret_why[static KEY_IMPORT_WHY_SIZE]);

/* The same, but it signs: PS256 over the digest, appended. */
int key_import_sign(const Secret *pem, const Secret *password, const uint8_t digest[static SHA256_SIZE],
                    RsaKey **ret_public, Buf *ret_signature, char ret_why[static KEY_IMPORT_WHY_SIZE]);
