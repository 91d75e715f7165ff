/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests of administrators: what is understood is written as it was understood. */
#include <errno.h>
#include <string.h>

#include "server/admin-request.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(ADMIN_REQUEST_MAX);
    AdminRequest q = {}, again = {};
    if (admin_request_parse((const char *)data, size, &q) != 0)
        return 0;
    fuzz_check(q.kind < ADMIN_KIND_MAX_, "a command");
    int r = admin_request_write(&q, &text);
    if (r == 0)
        r = admin_request_parse(buf_text(&text), text.size, &again);
    fuzz_check(r == 0 || r == -ENOMEM, "what was understood is of the form");
    if (r != 0)
        return 0;
    fuzz_check(q.kind == again.kind && strcmp(q.client, again.client) == 0 && q.uses == again.uses &&
                   q.days == again.days && q.number == again.number,
               "the same request");
    return 0;
}
