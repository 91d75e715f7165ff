/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Files that name a key: PEM, JWK, exported identities. */

#include "libhmsg/wire/export.h"
#include "tests/fuzz/fuzz.h"

#define NOW 1900000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(key_file_freep) KeyFile *k = NULL;
    _cleanup_(rsa_key_freep) RsaKey *key = NULL;
    _cleanup_(ec_key_freep) EcKey *ec = NULL;
    _cleanup_(buf_done) Buf pem = BUF_MAX(KEY_FILE_SIZE_MAX);

    if (key_file_read(data, size, NOW, &k) == 0)
        fuzz_check(rsa_key_to_pem(k->decrypt, &pem) == 0, "what was read can be written");
    (void)rsa_key_from_spki(data, size, &key);
    (void)ec_key_from_spki(data, size, &ec);
    return 0;
}
