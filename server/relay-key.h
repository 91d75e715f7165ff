/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The relay's identity key (RSA), which clients pin, and what it vouches for: the online key that signs
 * statements for a day. All functions may be called from any thread; those that sign with the identity key
 * take milliseconds, or seconds where a device holds it, and are not for event loops. */

#include "libhmsg/wire/statement.h"

#define RELAY_KEY_BITS_DEFAULT 3072u
#define RELAY_KEY_PASSPHRASE_MAX 1024u      /* bytes of the passphrase file */
#define RELAY_KEY_RENEW_AFTER (12u * 3600u) /* seconds: half of the statement's lifetime */

typedef struct RelayKey RelayKey;

/* Where the key is: what the file key has tells who holds it. It is the key itself, encrypted, which
 * passphrase opens; or the pkcs11: URI (server/token.h) of one in a token, which pin opens; or a pair of keys
 * that the TPM alone can use, which tcti reaches (NULL: as libhmsg/tpm/runner.h has it). */
typedef struct KeyFiles {
    const char *key, *passphrase, *pin, *tcti;
} KeyFiles;

typedef enum KeyPlace {
    KEY_IN_FILE, /* also when the file cannot be read */
    KEY_IN_TOKEN,
    KEY_IN_TPM,
} KeyPlace;

/* The key of any driver. Errors as relay_key_load, server/token.h and libhmsg/tpm/problem.h have them;
 * *ret_file (may be NULL): the file that an error is about. */
int relay_key_open(const KeyFiles *f, const char **ret_file, RelayKey **ret);
KeyPlace relay_key_place(const KeyFiles *f);
/* Makes a new key where f->key has its own, and writes the file path that names it. One that stands there
 * already, but is not in the token, is made as it says. A TPM's has 2048 bits, whatever bits is. */
int relay_key_make_beside(const KeyFiles *f, const char *path, unsigned bits, RelayKey **ret);
/* Has the TPM make the key, RSA-2048, and writes f->key, mode 0600; -EEXIST when that is there. */
int relay_key_init_tpm(const KeyFiles *f, RelayKey **ret);
/* Takes the key that uri names in a token, or makes it when there is none, and writes f->key, mode 0600;
 * -EEXIST when that is there. */
int relay_key_init_token(const KeyFiles *f, const char *uri, unsigned bits, RelayKey **ret);

int relay_key_generate(unsigned bits, RelayKey **ret);
/* HMSG_ERROR_AUTHENTICATION_FAILED: not the passphrase. HMSG_ERROR_DENIED: others than the owner have access
 * to a file, or it is neither ours nor root's and we are not root. HMSG_ERROR_BAD_PACKAGE: no encrypted
 * private RSA key of a size that is allowed. */
/* *ret_file (may be NULL): which of the two an error is about. */
int relay_key_load(const char *path, const char *passphrase_path, const char **ret_file, RelayKey **ret);
/* What to tell people about a result of relay_key_load. Never NULL. */
const char *relay_key_problem(int r);
/* Writes both files, mode 0600, the passphrase being random; -EEXIST when one is there. */
int relay_key_save(const RelayKey *k, const char *path, const char *passphrase_path);
/* Writes the key alone, under a passphrase that is there; errors as relay_key_load has them for that file. */
int relay_key_save_under(const RelayKey *k, const char *path, const char *passphrase_path);
RelayKey *relay_key_free(RelayKey *k);
DEFINE_CLEANUP(RelayKey *, relay_key_free)

const uint8_t *relay_key_pin(const RelayKey *k); /* PIN_SIZE bytes */
const RsaKey *relay_key_public(const RelayKey *k);

/* What is signed with the identity key: RSASSA-PSS over a SHA-256 digest. Appends the signature, which is
 * verified before; *ret_salt (may be NULL): the size of its salt. -EIO: it is wrong. */
int relay_key_sign(const RelayKey *k, const uint8_t digest[static SHA256_SIZE], Buf *ret, unsigned *ret_salt);
int relay_key_sign_draft(const RelayKey *k, const JwsDraft *draft, Buf *ret);

/* Has the identity key keep a secret of the relay's own, of 32 bytes: RSA-OAEP-256 over a prefix and it.
 * unwrap: HMSG_ERROR_AUTHENTICATION_FAILED for what was wrapped by another key, or is something else. It may
 * be wrapped by two keys, one behind the other. */
int relay_key_wrap(const RelayKey *k, const Secret *secret, Buf *ret);
int relay_key_unwrap(const RelayKey *k, const void *wrapped, size_t n, Secret **ret);

/* What is published from the next relay_key_renew on: the pin of the key that is to follow (NULL: none), and
 * a JSON array of the statements by which keys have named the next one. */
int relay_key_set_next(RelayKey *k, const uint8_t *pin, const char *successions);

/* What the statement says from the next relay_key_renew on of the state that the relay is in. */
void relay_key_set_ticks(RelayKey *k, const Ticks *ticks);

/* One online key and the statement about it; does not change. */
typedef struct OnlineKey OnlineKey;

/* Makes a new online key and has the identity key sign its statement; from now on relay_key_online gives this
 * one. now in Unix seconds. */
int relay_key_renew(RelayKey *k, int64_t now);
/* The current one, a new reference; NULL before the first relay_key_renew. Never blocks for long. */
OnlineKey *relay_key_online(RelayKey *k);
OnlineKey *online_key_ref(OnlineKey *o);
OnlineKey *online_key_unref(OnlineKey *o);
DEFINE_CLEANUP(OnlineKey *, online_key_unref)

const EcKey *online_key_ec(const OnlineKey *o);
const char *online_key_statement(const OnlineKey *o);   /* the relay statement: JWS, for "relay" in answers */
const char *online_key_successions(const OnlineKey *o); /* JSON array; "" */
const uint8_t *online_key_pin(const OnlineKey *o);
int64_t online_key_expires(const OnlineKey *o);
