/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/json.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(size * 6 + 64);
    json_t *j = NULL, *again = NULL;

    if (json_parse_object((const char *)data, size, &j) != 0 &&
        json_parse_array((const char *)data, size, &j) != 0)
        return 0;
    fuzz_check(json_write(j, &text) == 0, "what was read can be written");
    if (json_is_object(j))
        fuzz_check(json_parse_object(buf_text(&text), text.size, &again) == 0 && json_equal(j, again),
                   "and read");
    json_decref(j);
    json_decref(again);
    return 0;
}
