/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/seed.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(seed_freep) Seed *s = NULL;
    _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);

    if (seed_parse((const char *)data, size, &s) != 0)
        return 0;
    int r = seed_open(s, NULL, true, &out);
    fuzz_must(r != 0, "without its key a seed form stays closed");
    fuzz_check(r > 0, "and that is no failure of ours");
    fuzz_must(out.size == 0, "nothing comes out of it");
    return 0;
}
