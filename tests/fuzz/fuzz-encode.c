/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Base64url and base64: what can be read has exactly one text. And every byte string has one that is read
 * again. */

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/secret.h"
#include "tests/fuzz/fuzz.h"

typedef struct Form {
    int (*append)(Buf *b, const void *data, size_t n);
    int (*decode)(const char *text, size_t length, Buf *ret);
} Form;

static void try_form(const Form *f, const uint8_t *data, size_t size)
{
    _cleanup_(buf_done) Buf bytes = BUF_MAX(size), text = BUF_MAX(2 * size + 4), back = BUF_MAX(size);
    int r = f->decode((const char *)data, size, &bytes);

    if (r == 0) {
        fuzz_check(f->append(&text, bytes.data, bytes.size) == 0, "what was read can be written");
        fuzz_must(text.size == size && (size == 0 || bytes_equal(text.data, data, size)), "as the same text");
        buf_clear(&text);
    } else {
        fuzz_check(r == -EBADMSG, "text is refused for what it is");
    }
    fuzz_check(f->append(&text, data, size) == 0, "all bytes can be written");
    fuzz_check(f->decode(buf_text(&text), text.size, &back) == 0, "and read");
    fuzz_must(back.size == size && (size == 0 || bytes_equal(back.data, data, size)), "as the same bytes");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const Form forms[] = {{base64url_append, base64url_decode}, {base64_append, base64_decode}};

    for (size_t i = 0; i < ELEMENTSOF(forms); i++)
        try_form(&forms[i], data, size);
    return 0;
}
