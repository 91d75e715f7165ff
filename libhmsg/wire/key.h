/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Public keys: RSA of users and relay identities, P-256 of a relay's online key. Shape errors (another
 * algorithm, a size or exponent that is not allowed, a modulus of CVE-2017-15361 (ROCA), bytes behind the
 * key, another encoding than DER) are HMSG_ERROR_BAD_PACKAGE. Keys do not change after they are made; they
 * may be used from several threads. */

#include "libhmsg/wire/crypto.h"

struct evp_pkey_st; /* EVP_PKEY */

typedef struct RsaKey RsaKey; /* public part only */

int rsa_key_from_spki(const void *der, size_t n, RsaKey **ret);
/* One PEM block "PUBLIC KEY"; white space around it is allowed, anything else is not. */
int rsa_key_from_pem(const char *text, size_t n, RsaKey **ret);
/* A JWK (RFC 7517) with kty RSA; use or alg that contradict OAEP-256 (for_signing: PS256) and private members
 * are refused. */
int rsa_key_from_jwk(const char *text, size_t n, bool for_signing, RsaKey **ret);
int rsa_key_from_evp(struct evp_pkey_st *pkey, RsaKey **ret); /* takes a reference of its own */
RsaKey *rsa_key_ref(RsaKey *k);
RsaKey *rsa_key_free(RsaKey *k); /* drops one reference */
DEFINE_CLEANUP(RsaKey *, rsa_key_free)

/* DER SubjectPublicKeyInfo, owned by k. */
const uint8_t *rsa_key_spki(const RsaKey *k, size_t *ret_size);
int rsa_key_to_pem(const RsaKey *k, Buf *ret);
/* A JWK with kid, use and alg, and a line feed behind it; appended. */
int rsa_key_to_jwk(const RsaKey *k, bool for_signing, Buf *ret);
/* "ssh-rsa", the key in base64 (RFC 4253 section 6.6) and the kid as comment; with a line feed, appended. */
int rsa_key_to_openssh(const RsaKey *k, Buf *ret);
unsigned rsa_key_bits(const RsaKey *k);
size_t rsa_key_size(const RsaKey *k); /* bytes of a signature or OAEP ciphertext */
/* RFC 7638 SHA-256 thumbprint of {"e","kty","n"}, KID_SIZE bytes: kid or skid. */
const uint8_t *rsa_key_thumbprint(const RsaKey *k);
bool rsa_key_equal(const RsaKey *a, const RsaKey *b);
/* SHA-256 of the SPKI: the pin when this is the identity key of a relay. */
int rsa_key_pin(const RsaKey *k, uint8_t ret[static PIN_SIZE]);

/* RSAES-OAEP (RFC 8017 section 7.1), SHA-256, MGF1-SHA-256, empty label. Appends the ciphertext. */
int rsa_key_oaep_encrypt(const RsaKey *k, const void *plaintext, size_t n, Buf *ret);
/* PS256 over the SHA-256 digest; salt of 32 bytes or the maximum (222 for RSA-2048, older TPMs), no other. */
int rsa_key_verify_ps256(const RsaKey *k, const uint8_t digest[static SHA256_SIZE], const void *signature,
                         size_t n);
/* The same, and which of the two it is, in bytes. */
int rsa_key_verify_ps256_salt(const RsaKey *k, const uint8_t digest[static SHA256_SIZE],
                              const void *signature, size_t n, unsigned *ret_salt);
unsigned rsa_key_largest_salt(const RsaKey *k);

/* With private keys in software: the relay's identity, software protection, tests. */
int rsa_private_sign_ps256(struct evp_pkey_st *pkey, const uint8_t digest[static SHA256_SIZE], Buf *ret);
/* HMSG_ERROR_AUTHENTICATION_FAILED for everything that does not decrypt. */
int rsa_private_oaep_decrypt(struct evp_pkey_st *pkey, const void *ciphertext, size_t n, Secret **ret);
/* The same with SHA-1 and MGF1-SHA-1, as JWE's "RSA-OAEP" is, for what others wrote long ago. */
int rsa_private_oaep_sha1_decrypt(struct evp_pkey_st *pkey, const void *ciphertext, size_t n, Secret **ret);

typedef struct EcKey EcKey; /* P-256, with its private part when it was generated or read from one */

int ec_key_generate(EcKey **ret);
int ec_key_from_spki(const void *der, size_t n, EcKey **ret);
int ec_key_from_evp(struct evp_pkey_st *pkey, EcKey **ret); /* takes a reference of its own */
EcKey *ec_key_ref(EcKey *k);
EcKey *ec_key_free(EcKey *k);
DEFINE_CLEANUP(EcKey *, ec_key_free)
const uint8_t *ec_key_spki(const EcKey *k, size_t *ret_size);
const uint8_t *ec_key_thumbprint(const EcKey *k); /* RFC 7638 of {"crv","kty","x","y"} */
struct evp_pkey_st *ec_key_evp(const EcKey *k);   /* borrowed */
/* ES256 over the SHA-256 digest (RFC 7518 section 3.4). */
int ec_key_sign_es256(const EcKey *k, const uint8_t digest[static SHA256_SIZE],
                      uint8_t ret[static ES256_SIGNATURE_SIZE]);
int ec_key_verify_es256(const EcKey *k, const uint8_t digest[static SHA256_SIZE], const void *signature,
                        size_t n);

/* What two people compare: SHA-256 over the DER SPKI of the decrypt key, then that of the sign key. */
int fingerprint_make(const RsaKey *decrypt, const RsaKey *sign, uint8_t ret[static SHA256_SIZE]);
/* As 12 groups of 5 digits: the hash as a big-endian number modulo 10^60. */
#define FINGERPRINT_TEXT_SIZE 72u /* with the final 0 */
void fingerprint_text(const uint8_t fingerprint[static SHA256_SIZE], char ret[static FINGERPRINT_TEXT_SIZE]);
