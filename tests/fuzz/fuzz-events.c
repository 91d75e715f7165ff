/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Event streams of a relay; the first byte says into which pieces the rest is cut. */

#include <string.h>

#include "agent/courier/events.h"
#include "tests/fuzz/fuzz.h"

static int on_event(const char *name, const char *data, size_t n, void *userdata)
{
    fuzz_check(strlen(name) <= EVENT_NAME_MAX && n <= EVENT_DATA_MAX && strlen(data) == n,
               "events keep their limits");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(events_freep) Events *e = NULL;
    size_t piece;

    if (size < 1)
        return 0;
    piece = (size_t)data[0] + 1;
    fuzz_check(events_new(on_event, NULL, &e) == 0, "memory");
    for (size_t at = 1; at < size; at += piece)
        if (events_feed(e, data + at, size - at < piece ? size - at : piece) != 0)
            break;
    return 0;
}
