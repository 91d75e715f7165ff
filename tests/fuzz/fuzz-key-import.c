/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Private keys in PEM, of which one is encrypted with this password. */

#include "libhmsg/base/error.h"
#include "libhmsg/wire/key-import.h"
#include "tests/fuzz/fuzz.h"

#define PASSWORD "password"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(secret_freep) Secret *pem = NULL, *password = NULL, *prime = NULL;
    _cleanup_(rsa_key_freep) RsaKey *public = NULL;
    char why[KEY_IMPORT_WHY_SIZE];

    if (size == 0 || size > SECRET_SIZE_MAX)
        return 0;
    fuzz_check(secret_new_copy(data, size, &pem) == 0, "there is memory");
    fuzz_check(secret_new_copy(PASSWORD, sizeof(PASSWORD) - 1, &password) == 0, "there is memory");
    int r = key_import(pem, password, &public, &prime, why);
    fuzz_must((r == 0) == (public != NULL) && (r == 0) == (prime != NULL), "a key, or none");
    fuzz_must(r == 0 || r == HMSG_ERROR_INVALID_ARGS || r == HMSG_ERROR_LOCKED || r < 0, "its errors");
    fuzz_must(r <= 0 || *why, "words");
    if (r != 0)
        return 0;
    fuzz_check(rsa_key_bits(public) == 2048, "the one size");
    fuzz_check(secret_size(prime) == KEY_IMPORT_PRIME_SIZE && (secret_bytes(prime)[0] & 0x80) != 0,
               "half of it");
    return 0;
}
