/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* TSS2 key files, as PEM and as DER. */

#include "libhmsg/tpm/keyfile.h"
#include "tests/fuzz/fuzz.h"

static void look(TpmKeyFile *k)
{
    _cleanup_(buf_done) Buf der = BUF_MAX(TPM_KEYFILE_DER_MAX);
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *again = NULL;
    size_t n = 0;

    fuzz_check(tpm_keyfile_spki(k, &n) != NULL && n > 0, "a key has a public part");
    fuzz_check(tpm_keyfile_to_der(k, &der) == 0, "what was read can be written");
    fuzz_check(tpm_keyfile_from_der(der.data, der.size, &again) == 0, "and read");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *pem = NULL, *der = NULL;

    if (tpm_keyfile_from_pem((const char *)data, size, &pem) == 0)
        look(pem);
    if (tpm_keyfile_from_der(data, size, &der) == 0)
        look(der);
    return 0;
}
