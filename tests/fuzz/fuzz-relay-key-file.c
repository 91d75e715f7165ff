/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What names or holds a relay's identity key: the private key of a backup, a pair of keys of a TPM, the URI
 * of a key in a token. */

#include <string.h>

#include "server/relay-key-backup.h"
#include "server/relay-key-internal.h"
#include "server/token-internal.h"
#include "tests/fuzz/fuzz.h"

static void look_at_backup(const Buf *text)
{
    static const uint8_t digest[SHA256_SIZE];
    _cleanup_(relay_key_freep) RelayKey *k = NULL;
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);

    if (relay_key_read(buf_text(text), text->size, &k) != 0)
        return;
    fuzz_must(rsa_key_bits(relay_key_public(k)) >= RSA_BITS_MIN, "a key that is long enough");
    fuzz_check(relay_key_sign(k, digest, &signature, NULL) == 0, "and signs");
}

static void look_at_pair(const Buf *text)
{
    _cleanup_(tpm_pair_done) TpmPair pair = {.sign = NULL};

    if (!relay_key_is_tpm_text(text) || tpm_pair_parse(text, &pair) != 0) {
        fuzz_must(!pair.sign && !pair.decrypt, "nothing comes of a damaged file");
        return;
    }
    fuzz_must(tpm_keyfile_use(pair.sign) == TPM_KEY_SIGN && tpm_keyfile_use(pair.decrypt) == TPM_KEY_DECRYPT,
              "a pair");
}

static void look_at_uri(const Buf *text)
{
    _cleanup_(buf_done) Buf renewed = BUF_MAX(TOKEN_URI_MAX);
    P11KitUri *uri = NULL;

    if (strlen(buf_text(text)) != text->size || !token_is_uri(buf_text(text)) ||
        token_uri_renew(buf_text(text), true, &renewed) != 0)
        return;
    fuzz_must(token_is_uri(buf_text(&renewed)), "it is a URI still");
    int r = token_parse_uri(buf_text(&renewed), &uri);
    fuzz_check(r == 0, "which is understood");
    if (uri)
        fuzz_must(p11_kit_uri_get_attribute(uri, CKA_ID) != NULL, "of one key");
    p11_kit_uri_free(uri);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(KEY_FILE_SIZE_MAX);

    if (size > KEY_FILE_SIZE_MAX)
        return 0;
    fuzz_check(buf_append(&text, data, size) == 0, "memory");
    look_at_backup(&text);
    look_at_pair(&text);
    look_at_uri(&text);
    return 0;
}
