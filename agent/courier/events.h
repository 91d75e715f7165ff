/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reads a text/event-stream (WHATWG HTML, section 9.2) in pieces of any size: a function of the bytes alone.
 * Fields other than event and data are left out; so are comments and events without data. */

#include "libhmsg/base/buf.h"

#define EVENT_NAME_MAX 64u   /* bytes */
#define EVENT_DATA_MAX 4096u /* bytes, all data lines of one event together */
#define EVENT_LINE_MAX (EVENT_DATA_MAX + 64u)

typedef struct Events Events;

/* name is "message" when the stream gave none. data[n] is 0. What it returns ends events_feed when not 0. */
typedef int (*event_t)(const char *name, const char *data, size_t n, void *userdata);

int events_new(event_t f, void *userdata, Events **ret);
Events *events_free(Events *e);
DEFINE_CLEANUP(Events *, events_free)

/* HMSG_ERROR_BAD_PACKAGE: a line, name or event is too long, or holds a NUL. Nothing may be fed after a
 * failure. */
int events_feed(Events *e, const void *data, size_t n);
