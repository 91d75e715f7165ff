/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Proof of possession of the decrypt key, keys and MACs of acknowledgements, message ids. */

#include "libhmsg/wire/key.h"

/* Relay: a fresh secret, encrypted to the key that is to be proven (appended to ret_challenge). */
int pop_make(const RsaKey *decrypt, const uint8_t pin[static PIN_SIZE], Secret **ret_secret,
             Buf *ret_challenge);
/* Agent: the secret out of what the TPM decrypted. HMSG_ERROR_AUTHENTICATION_FAILED when it is not of the
 * form "hmsg/1 pop" || pin || secret for this relay: then nothing may be answered. */
int pop_open(const Secret *plaintext, const uint8_t pin[static PIN_SIZE], Secret **ret_secret);
/* HMAC-SHA-256(secret, ASCII of the register JWS). The relay compares with bytes_equal. */
int pop_answer(const Secret *secret, const char *request, size_t n, uint8_t ret[static SHA256_SIZE]);

/* HKDF-SHA-256(X25519(own, peer), salt nonce, info "hmsg/1 ack" || pin || skid); both sides alike. */
int ack_key_derive(const Secret *own, const uint8_t peer[static X25519_SIZE],
                   const uint8_t nonce[static NONCE_SIZE], const uint8_t pin[static PIN_SIZE],
                   const uint8_t skid[static KID_SIZE], Secret **ret);
/* HMAC-SHA-256(key, "hmsg/1 ack" || pin || ids); ids are n times ID_SIZE bytes. */
int ack_mac(const Secret *key, const uint8_t pin[static PIN_SIZE], const void *ids, size_t n,
            uint8_t ret[static SHA256_SIZE]);

/* SHA-256(recipient kid || body). For a body in pieces: sha256_update with kid, then the body. */
int message_id(const uint8_t kid[static KID_SIZE], const void *body, size_t n, uint8_t ret[static ID_SIZE]);
