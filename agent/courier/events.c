/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/courier/events.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"

static const uint8_t byte_order_mark[] = {0xef, 0xbb, 0xbf};

struct Events {
    event_t f;
    void *userdata;
    Buf line;
    Buf name;
    Buf data;
    bool has_data;
    bool after_cr;   /* a LF now belongs to the CR before */
    bool first_line; /* may begin with a byte order mark */
};

int events_new(event_t f, void *userdata, Events **ret)
{
    Events *e = calloc(1, sizeof(*e));

    if (!e)
        return -ENOMEM;
    e->f = f;
    e->userdata = userdata;
    e->line = BUF_MAX(EVENT_LINE_MAX);
    e->name = BUF_MAX(EVENT_NAME_MAX);
    e->data = BUF_MAX(EVENT_DATA_MAX);
    e->first_line = true;
    *ret = e;
    return 0;
}

Events *events_free(Events *e)
{
    if (!e)
        return NULL;
    buf_done(&e->line);
    buf_done(&e->name);
    buf_done(&e->data);
    free(e);
    return NULL;
}

static int dispatch(Events *e)
{
    int r = 0;

    if (e->has_data)
        r = e->f(e->name.size > 0 ? buf_text(&e->name) : "message", buf_text(&e->data), e->data.size,
                 e->userdata);
    buf_clear(&e->name);
    buf_clear(&e->data);
    e->has_data = false;
    return r;
}

static int field(Events *e, const char *name, size_t name_size, const char *value, size_t n)
{
    int r = 0;

    if (name_size == strlen("event") && strncmp(name, "event", name_size) == 0) {
        buf_clear(&e->name);
        return buf_append(&e->name, value, n);
    }
    if (name_size == strlen("data") && strncmp(name, "data", name_size) == 0) {
        if (e->has_data)
            r = buf_append(&e->data, "\n", 1);
        e->has_data = true;
        return r == 0 ? buf_append(&e->data, value, n) : r;
    }
    return 0;
}

static int end_line(Events *e)
{
    const char *text = buf_text(&e->line), *colon, *value;
    size_t n = e->line.size;
    int r;

    if (e->first_line && n >= sizeof(byte_order_mark) &&
        memcmp(text, byte_order_mark, sizeof(byte_order_mark)) == 0) { /* public */
        text += sizeof(byte_order_mark);
        n -= sizeof(byte_order_mark);
    }
    e->first_line = false;
    if (n == 0) {
        r = dispatch(e);
    } else {
        colon = memchr(text, ':', n);
        value = colon ? colon + 1 : text + n;
        if (colon && value < text + n && *value == ' ')
            value++;
        /* a comment is a field without a name */
        r = field(e, text, colon ? (size_t)(colon - text) : n, value, (size_t)(text + n - value));
    }
    buf_clear(&e->line);
    return r;
}

int events_feed(Events *e, const void *data, size_t n)
{
    const char *at = data, *end = at + n;
    int r = 0;

    while (at < end && r == 0) {
        size_t length = 0;

        if (e->after_cr && *at == '\n')
            at++;
        e->after_cr = false;
        while (at + length < end && at[length] != '\n' && at[length] != '\r' && at[length] != 0)
            length++;
        r = buf_append(&e->line, at, length);
        at += length;
        if (r != 0 || at == end)
            break;
        if (*at == 0)
            return HMSG_ERROR_BAD_PACKAGE;
        e->after_cr = *at++ == '\r';
        r = end_line(e);
    }
    return r == -EMSGSIZE ? HMSG_ERROR_BAD_PACKAGE : r;
}
