/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* People whose keys are in software, for tests of what is done with public keys, statements and packages. All
 * of it fails the test by g_error() when it cannot be done. */

#include <glib.h>
#include <openssl/evp.h>

#include "libhmsg/wire/package.h"

typedef struct TestPerson {
    EVP_PKEY *decrypt_private, *sign_private;
    RsaKey *decrypt, *sign;
    char kid[HASH_TEXT_SIZE], skid[HASH_TEXT_SIZE]; /* base64url */
    uint8_t kids[1][KID_SIZE];                      /* of the decrypt key, as package_find takes them */
} TestPerson;

TestPerson *test_person_new(void);
/* With keys of so many bits. */
TestPerson *test_person_new_of(unsigned bits);
void test_person_free(TestPerson *p); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TestPerson, test_person_free)

/* A new RSA key of so many bits. */
EVP_PKEY *test_rsa_new(unsigned bits);

/* A self-signed certificate of key in DER, for "Bob"; from and to in seconds from now, usage as in OpenSSL's
 * keyUsage or NULL. */
GByteArray *test_certificate_new(EVP_PKEY *key, long from, long to, const char *usage, bool key_id);

/* The identity statement of a first generation for an address; to be freed. */
char *test_person_statement(const TestPerson *p, const char *address);
/* The statement of a later generation, which follows another (NULL: none); to be freed. */
char *test_person_statement_after(const TestPerson *p, const char *address, uint64_t generation,
                                  const char *previous);
/* The same, with recovery keys. */
char *test_person_statement_with(const TestPerson *p, const char *address, uint64_t generation,
                                 const char *previous, const RecoveryKeys *recovery);
/* The first statement, with devices, made at a time; to be freed. */
char *test_person_statement_devices(const TestPerson *p, const char *address, const Devices *devices,
                                    int64_t iat);
/* The rotate statement by which one pair of keys follows another; to be freed. */
char *test_person_rotate(const TestPerson *from, const TestPerson *to, uint64_t generation);
/* A session from sender (NULL: anonymous) to recipient, ready for package_build. */
WireSession *test_session_new(const TestPerson *sender, const TestPerson *recipient, int64_t now);
/* The session's keys, as the TPM of the recipient would give them. */
Secret *test_person_unwrap(const TestPerson *p, const Package *package);
