/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A chain of rotations, as a relay gives it: followed to the statement that its last link names. */

#include "libhmsg/wire/rotation.h"
#include "tests/fuzz/fuzz.h"

#define NOW 1900000000

/* The last link's "to". */
static int parse_end(const json_t *chain, IdentityStatement *ret)
{
    const char *text = NULL;
    size_t n = 0, links = json_array_size(chain);
    int r = json_get_text(json_array_get(chain, links > 0 ? links - 1 : 0), "to", JWS_SIZE_MAX, &text, &n);

    return r == 0 ? identity_statement_parse(text, n, NOW, ret) : r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(identity_statement_done) IdentityStatement end = {0};
    _cleanup_(json_decrefp) json_t *chain = NULL;
    _cleanup_(freep) Rotation *rotation = calloc(1, sizeof(*rotation));
    static const uint8_t nobody[KID_SIZE];

    if (!rotation || json_parse_array((const char *)data, size, &chain) != 0 || parse_end(chain, &end) != 0)
        return 0;
    fuzz_must(rotation_chain_follow(chain, nobody, &end, NOW, rotation) != 0, "nobody has this key");
    fuzz_must(rotation->n == 0, "nothing is told of what leads nowhere");
    if (rotation_chain_follow(chain, rsa_key_thumbprint(end.sign), &end, NOW, rotation) == 0)
        fuzz_must(false, "a chain does not begin where it ends");
    return 0;
}
