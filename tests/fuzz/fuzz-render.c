/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What others wrote, on its way to a terminal. */

#include "cli/render.h"
#include "tests/fuzz/fuzz.h"

static void check(const Buf *out, bool lines)
{
    for (size_t i = 0; i < out->size; i++) {
        uint8_t c = out->data[i];

        fuzz_must(c >= 0x20 || (lines && (c == '\n' || c == '\t')), "no control character");
        fuzz_must(c != 0x7f, "no delete");
        /* C1 controls, which some terminals act on */
        fuzz_must(c != 0xc2 || i + 1 >= out->size || out->data[i + 1] >= 0xa0, "no C1 control");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(RENDER_SIZE_MAX), line = BUF_MAX(RENDER_SIZE_MAX);

    fuzz_check(render_text(&text, data, size, true) == 0, "memory");
    check(&text, true);
    fuzz_check(render_text(&line, data, size, false) == 0, "memory");
    check(&line, false);
    return 0;
}
