/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "libhmsg/wire/address.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(buf_done) Buf first = BUF_MAX(ADDRESS_SIZE_MAX), second = BUF_MAX(ADDRESS_SIZE_MAX);
    char *text = calloc(1, size + 1);
    Address a, b;
    Relay relay;

    fuzz_check(text != NULL, "memory");
    memcpy(text, data, size);
    if (address_parse(text, &a) == 0) {
        fuzz_check(address_format(&a, true, &first) == 0, "an address has a text");
        fuzz_check(address_parse(buf_text(&first), &b) == 0, "which can be read");
        fuzz_check(address_format(&b, true, &second) == 0, "and written");
        fuzz_check(strcmp(buf_text(&first), buf_text(&second)) == 0, "as the same");
    }
    (void)relay_parse(text, &relay);
    free(text);
    return 0;
}
