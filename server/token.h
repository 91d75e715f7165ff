/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An RSA key in a PKCS#11 token (Cryptoki 2.20 and later; modules are loaded by p11-kit): an HSM, a smart
 * card, a KMS. The key is named by a URI (RFC 7512) that selects one token by its attributes, the key by
 * object or id, and the module by module-path, else it is one of those that p11-kit is configured with. No
 * PIN is in it. The module is somebody else's program code: it is loaded where the key is used, nowhere else.
 *
 * Errors: HMSG_ERROR_INVALID_ARGS: the URI is not of this form. -ENODEV: the token is not there, or the
 * module does not load. -ENOTUNIQ: more than one token, or key, is of that name. HMSG_ERROR_NOT_FOUND: the
 * token has no such key. HMSG_ERROR_AUTHENTICATION_FAILED: not the PIN; HMSG_ERROR_LOCKED: it takes none any
 * more. -EPERM: the key may not be used for what is needed. -EIO: anything else. All but the first two are
 * told in the log with what the token said. */

#include "libhmsg/wire/key.h"

#define TOKEN_PIN_MAX 1024u /* bytes */
#define TOKEN_URI_MAX 2048u

typedef struct Token Token;

/* Does the text begin as such a URI? */
bool token_is_uri(const char *text);
/* Appends the same URI for a key that is new: with a random id, and with an object of its own, unless
 * keep_label is true and it has one. */
int token_uri_renew(const char *uri, bool keep_label, Buf *ret);

/* Opens the token. pin: of the user (NULL: none, or the token asks for it by itself); it is given once, and
 * never again after it was wrong: tokens lock themselves. */
int token_open(const char *uri, const Secret *pin, Token **ret);
Token *token_free(Token *t);
DEFINE_CLEANUP(Token *, token_free)

/* Both before the functions that follow, which any thread may call; a token that was away, or forgot the
 * session, is opened anew by them. The first finds the key that is there, the second makes it: never to leave
 * the token, to sign and to decrypt. bits as in relay_key_generate. */
int token_find_key(Token *t, RsaKey **ret);
int token_make_key(Token *t, unsigned bits, RsaKey **ret);

/* Appends the URI with the id of the key that was found, so that it is of no other. */
int token_key_uri(Token *t, Buf *ret);

/* RSASSA-PSS, SHA-256, salt of 32 bytes; appends the signature. */
int token_sign(Token *t, const uint8_t digest[static SHA256_SIZE], Buf *ret);
/* RSAES-OAEP, SHA-256; where the token does that with SHA-1 only, as SoftHSM 2 does, the RSA operation alone
 * is the token's. */
int token_decrypt(Token *t, const void *ciphertext, size_t n, Secret **ret);
