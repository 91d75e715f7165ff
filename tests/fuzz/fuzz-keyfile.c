/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* TSS2 key files, as PEM and as DER, and those of keys in software. */

#include <errno.h>

#include "libhmsg/tpm/keyfile.h"
#include "libhmsg/tpm/software.h"
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

static void look_software(const TpmKeyFile *k)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(TPM_KEYFILE_PEM_MAX);
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *again = NULL;
    int r = tpm_keyfile_to_pem(k, &text);

    if (r == 0)
        r = software_from_pem(buf_text(&text), text.size, TPM_KEY_SIGN, &again);
    fuzz_check(r == 0 || r == -ENOMEM, "what was read can be written, and read");
    fuzz_check(!again || bytes_equal(software_salt(k), software_salt(again), SOFTWARE_SALT_SIZE),
               "it is the same");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *pem = NULL, *der = NULL, *software = NULL;

    if (tpm_keyfile_from_pem((const char *)data, size, &pem) == 0)
        look(pem);
    if (tpm_keyfile_from_der(data, size, &der) == 0)
        look(der);
    if (software_from_pem((const char *)data, size, TPM_KEY_SIGN, &software) == 0)
        look_software(software);
    return 0;
}
