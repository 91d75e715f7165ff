/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/pem.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

#define LINE 64u
#define MARK_MAX 64u

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void trim(const char **text, size_t *n)
{
    while (*n > 0 && is_space((*text)[0])) {
        (*text)++;
        (*n)--;
    }
    while (*n > 0 && is_space((*text)[*n - 1]))
        (*n)--;
}

static int make_mark(const char *what, const char *label, Buf *ret)
{
    return buf_printf(ret, "-----%s %s-----", what, label);
}

static bool begins(const char *text, size_t n, const Buf *mark)
{
    return n >= mark->size && memcmp(text, mark->data, mark->size) == 0; /* public */
}

bool pem_is(const char *text, size_t n, const char *label)
{
    _cleanup_(buf_done) Buf mark = BUF_MAX(MARK_MAX);
    trim(&text, &n);
    return make_mark("BEGIN", label, &mark) == 0 && begins(text, n, &mark);
}

static int read_body(const char *text, size_t n, Buf *ret)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(n);
    int r = buf_reserve(&body, n);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (!is_space(text[i]))
            r = buf_append(&body, &text[i], 1);
    if (r == 0)
        r = base64_decode(buf_text(&body), body.size, ret);
    return r == -EBADMSG || r == -EMSGSIZE ? HMSG_ERROR_BAD_PACKAGE : r;
}

int pem_read(const char *text, size_t n, const char *label, Buf *ret)
{
    _cleanup_(buf_done) Buf begin = BUF_MAX(MARK_MAX), end = BUF_MAX(MARK_MAX);
    int r = make_mark("BEGIN", label, &begin);
    if (r == 0)
        r = make_mark("END", label, &end);
    if (r != 0)
        return r;
    trim(&text, &n);
    if (n < begin.size + end.size || !begins(text, n, &begin) || !begins(text + n - end.size, end.size, &end))
        return HMSG_ERROR_BAD_PACKAGE;
    return read_body(text + begin.size, n - begin.size - end.size, ret);
}

int pem_append(Buf *b, const char *label, const void *data, size_t n)
{
    _cleanup_(buf_done) Buf body = BUF_MAX((n + 2) / 3 * 4);
    int r = base64_append(&body, data, n);
    if (r == 0)
        r = make_mark("BEGIN", label, b);
    if (r == 0)
        r = buf_append_string(b, "\n");
    for (size_t i = 0; r == 0 && i < body.size; i += LINE) {
        r = buf_append(b, body.data + i, body.size - i < LINE ? body.size - i : LINE);
        if (r == 0)
            r = buf_append_string(b, "\n");
    }
    if (r == 0)
        r = make_mark("END", label, b);
    return r == 0 ? buf_append_string(b, "\n") : r;
}
