/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "libhmsg/tpm/keyfile.h"
#include "server/relay-key.h"

/* Who holds the private key and does what only it can. held is the driver's; calls may come from several
 * threads at once. */
typedef struct KeyDriver {
    /* RSASSA-PSS, SHA-256; appends the signature. */
    int (*sign)(void *held, const uint8_t digest[static SHA256_SIZE], Buf *ret);
    /* RSAES-OAEP, SHA-256. HMSG_ERROR_AUTHENTICATION_FAILED: it does not decrypt. */
    int (*unwrap)(void *held, const void *wrapped, size_t n, Secret **ret);
    void (*free)(void *held);
    /* unwrap does all of relay_key_unwrap. */
    bool keeps_whole;
} KeyDriver;

/* Takes held, of which free is called in the end, now when this fails. identity: the key that clients pin;
 * keeper: the one that unwraps, the same or another; takes references of its own to both. */
int relay_key_new(const KeyDriver *driver, void *held, RsaKey *identity, RsaKey *keeper, RelayKey **ret);
/* What the driver holds, when it is this one; else NULL. */
void *relay_key_held(const RelayKey *k, const KeyDriver *driver);

/* A private key in our own memory. Takes a reference of its own. HMSG_ERROR_BAD_PACKAGE: not RSA of 2048,
 * 3072 or 4096 bits. */
int relay_key_from_evp(struct evp_pkey_st *pkey, RelayKey **ret);
struct pkcs8_priv_key_info_st; /* PKCS8_PRIV_KEY_INFO */
/* The same, for what was read: -EBADMSG when its numbers do not fit together. */
int relay_key_from_pkcs8(const struct pkcs8_priv_key_info_st *info, RelayKey **ret);
/* Keys in a token: pin may be NULL. The second makes it. ret_uri (may be NULL) gets the key's URI appended.
 */
int relay_key_token_open(const char *uri, const Secret *pin, Buf *ret_uri, RelayKey **ret);
int relay_key_token_make(const char *uri, const Secret *pin, unsigned bits, RelayKey **ret);

/* Keys in a TPM: RSA-2048. Does the key's file begin as theirs do? What it has, appended to ret_text. */
bool relay_key_is_tpm_text(const Buf *text);
/* What is in such a file: a pair of keys, and the Name of their parent. HMSG_ERROR_BAD_PACKAGE. */
typedef struct TpmPair {
    TpmKeyFile *sign, *decrypt;
    uint8_t srk_name[TPM_NAME_SIZE];
} TpmPair;
void tpm_pair_done(TpmPair *p);
int tpm_pair_parse(const Buf *text, TpmPair *ret);
int relay_key_tpm_open(const Buf *text, const char *tcti, RelayKey **ret);
int relay_key_tpm_make(const char *tcti, Buf *ret_text, RelayKey **ret);

/* Reads a file that is for its owner, us or root, alone; errors as relay_key_load has them. */
int relay_key_read_private(const char *path, Buf *ret);
/* The same, of which the line ends are left out; HMSG_ERROR_INVALID_ARGS: nothing is in it. */
int relay_key_read_passphrase(const char *path, Buf *ret);

/* The key that secrets are encrypted to. */
RsaKey *relay_key_keeper(const RelayKey *k);

/* The private key, borrowed; NULL: it is not in our memory, so there is none to be saved or copied. */
struct evp_pkey_st *relay_key_software(const RelayKey *k);
