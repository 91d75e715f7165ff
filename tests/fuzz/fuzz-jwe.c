/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* JWE that are no packages. The first line is the kid of the key that reads: else no mutation would ever be
 * for us. */

#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/wire/jwe-message.h"
#include "tests/fuzz/fuzz.h"

#define KID_TEXT (HASH_TEXT_SIZE - 1)

/* It reads RSA-OAEP with SHA-1 besides, and nothing else. */
static void read_legacy(const char *text, size_t n, const uint8_t (*kids)[KID_SIZE], size_t n_kids,
                        const Jwe *strict)
{
    _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    _cleanup_(jwe_freep) Jwe *j = NULL;
    const char *why = NULL;
    int r = jwe_parse_legacy(text, n, kids, n_kids, &j, &why);

    fuzz_must((r == 0) == (j != NULL), "what is read is there, and nothing else");
    if (strict)
        fuzz_check(r == 0, "what is read without SHA-1 is read with it");
    if (r != 0)
        return;
    fuzz_check(j->oaep_sha1 == !strict, "what is read besides is of that kind");
    fuzz_must(!j->oaep_sha1 || (!j->is_shared && !j->has_sender), "and never ours");
    if (jwe_check_sender(j) == 0)
        fuzz_must(jwe_open(j, NULL, &out) != 0 && out.size == 0, "without its key a JWE stays closed");
}

static void read_jwe(const char *text, size_t n, const uint8_t (*kids)[KID_SIZE], size_t n_kids)
{
    _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    _cleanup_(jwe_freep) Jwe *j = NULL;
    const char *why = NULL;
    int r = jwe_parse(text, n, kids, n_kids, &j, &why);

    fuzz_must((r == 0) == (j != NULL), "what is read is there, and nothing else");
    fuzz_must(!j || !j->oaep_sha1, "SHA-1 only when it is asked for");
    read_legacy(text, n, kids, n_kids, j);
    if (r != 0)
        return;
    fuzz_must(n_kids > 0 && bytes_equal(j->kid, kids[0], KID_SIZE), "it is for a key of ours");
    fuzz_must(!why, "what is right needs no words");
    fuzz_must(jwe_open(j, NULL, &out) != 0, "no stage can be left out");
    if (jwe_check_sender(j) != 0)
        return;
    r = jwe_open(j, NULL, &out);
    fuzz_must(r != 0, "without its key a JWE stays closed");
    fuzz_check(r > 0, "and that is no failure of ours");
    fuzz_must(out.size == 0, "nothing comes out of it");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    uint8_t kids[1][KID_SIZE] = {{0}};
    bool has_kid = size > KID_TEXT && base64url_decode_exact(text, KID_TEXT, kids[0], KID_SIZE) == 0;
    size_t begin = has_kid ? KID_TEXT + 1 : 0;

    read_jwe(text + begin, size - begin, kids, 1);
    read_jwe(text + begin, size - begin, NULL, 0);
    (void)wire_format_detect(text + begin, size - begin);
    return 0;
}
