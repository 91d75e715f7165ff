/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/flat.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/limits.h"

typedef struct Cursor {
    const char *at, *end;
} Cursor;

/* Each scan function leaves the cursor behind what it has read, and returns false for all that is not of the
 * plain form, right or wrong: what to make of that jansson says. */

static void skip_space(Cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
        c->at++;
}

static bool skip(Cursor *c, char what)
{
    skip_space(c);
    if (c->at == c->end || *c->at != what)
        return false;
    c->at++;
    return true;
}

#define EACH_BYTE(x) (UINT64_C(0x0101010101010101) * (x))

/* True when one of the eight bytes of v is 0. */
static bool has_zero(uint64_t v)
{
    return ((v - EACH_BYTE(1)) & ~v & EACH_BYTE(0x80)) != 0;
}

/* Printable ASCII without backslash; eight bytes at a time, since packages are long. */
static bool is_plain(const char *text, size_t n)
{
    for (; n >= 8; text += 8, n -= 8) {
        uint64_t v;
        memcpy(&v, text, 8);
        if (((v | (v + EACH_BYTE(1))) & EACH_BYTE(0x80)) != 0 || /* 0x7f and above */
            ((v - EACH_BYTE(0x20)) & ~v & EACH_BYTE(0x80)) != 0 || has_zero(v ^ EACH_BYTE('\\')))
            return false;
    }
    for (; n > 0; text++, n--)
        if (*text < 0x20 || *text > 0x7e || *text == '\\')
            return false;
    return true;
}

static bool scan_text(Cursor *c, const char **ret, size_t *ret_size)
{
    if (!skip(c, '"'))
        return false;
    const char *start = c->at;
    const char *quote = memchr(start, '"', (size_t)(c->end - start));
    if (!quote)
        return false;
    if (!is_plain(start, (size_t)(quote - start)))
        return false;
    *ret = start;
    *ret_size = (size_t)(quote - start);
    c->at = quote + 1;
    return true;
}

/* Up to 18 digits: more may not fit. */
static bool scan_number(Cursor *c, int64_t *ret)
{
    int64_t value = 0;
    bool negative = c->at < c->end && *c->at == '-';
    if (negative)
        c->at++;
    const char *start = c->at;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9' && c->at - start < 18)
        value = value * 10 + (*c->at++ - '0');
    if (c->at == start || (*start == '0' && c->at - start > 1) || c->at == c->end)
        return false;
    *ret = negative ? -value : value;
    /* a digit more, a fraction or an exponent is not what follows a whole number here */
    return *c->at == ',' || *c->at == '}' || *c->at == ' ' || *c->at == '\t' || *c->at == '\n' ||
           *c->at == '\r';
}

static bool scan_object(Cursor *c, unsigned depth, Flat *ret);

static bool scan_value(Cursor *c, unsigned depth, FlatMember *m)
{
    skip_space(c);
    if (c->at == c->end)
        return false;
    if (*c->at == '"') {
        m->kind = FLAT_TEXT;
        return scan_text(c, &m->text, &m->size);
    }
    if (*c->at != '{') {
        m->kind = FLAT_NUMBER;
        return scan_number(c, &m->number);
    }
    Flat inner;
    m->kind = FLAT_OBJECT;
    m->text = c->at;
    if (depth == 0 || !scan_object(c, depth - 1, &inner))
        return false;
    m->size = (size_t)(c->at - m->text);
    return true;
}

static const FlatMember *find(const Flat *f, const char *name, size_t size)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->members[i].name_size == size && memcmp(f->members[i].name, name, size) == 0) /* public */
            return &f->members[i];
    return NULL;
}

static bool scan_object(Cursor *c, unsigned depth, Flat *ret)
{
    ret->n = 0;
    if (!skip(c, '{'))
        return false;
    if (skip(c, '}'))
        return true;
    do {
        FlatMember m = {.kind = FLAT_TEXT};
        if (ret->n == FLAT_MEMBERS_MAX || !scan_text(c, &m.name, &m.name_size) || !skip(c, ':') ||
            !scan_value(c, depth, &m) || find(ret, m.name, m.name_size))
            return false;
        ret->members[ret->n++] = m;
    } while (skip(c, ','));
    return skip(c, '}');
}

static bool scan_all(const char *text, size_t n, Flat *ret)
{
    Cursor c = {text, text + n};
    if (!scan_object(&c, 1, ret))
        return false;
    skip_space(&c);
    return c.at == c.end;
}

int flat_parse(const char *text, size_t n, Flat *ret)
{
    ret->rewritten = BUF_MAX(n < SIZE_MAX / 8 ? 8 * n + 64 : n); /* \u escapes are six times as long */
    if (scan_all(text, n, ret))
        return 0;
    _cleanup_(json_decrefp) json_t *j = NULL;
    int r = json_parse_object(text, n, &j);
    if (r == 0)
        r = json_write(j, &ret->rewritten);
    if (r == 0 && !scan_all(buf_text(&ret->rewritten), ret->rewritten.size, ret))
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r != 0)
        flat_done(ret);
    return r;
}

void flat_done(Flat *f)
{
    buf_done(&f->rewritten);
    f->n = 0;
}

static const FlatMember *get(const Flat *f, const char *name, FlatKind kind)
{
    const FlatMember *m = find(f, name, strlen(name));
    return m && m->kind == kind ? m : NULL;
}

int flat_check_names(const Flat *f, const char *const *names)
{
    size_t found = 0;
    for (; *names; names++)
        found += flat_has(f, *names) ? 1 : 0;
    return found == f->n ? 0 : HMSG_ERROR_BAD_PACKAGE;
}

bool flat_has(const Flat *f, const char *name)
{
    return find(f, name, strlen(name)) != NULL;
}

int flat_get_text(const Flat *f, const char *name, size_t max, const char **ret, size_t *ret_size)
{
    const FlatMember *m = get(f, name, FLAT_TEXT);
    if (!m)
        return HMSG_ERROR_BAD_PACKAGE;
    if (m->size > max)
        return HMSG_ERROR_TOO_LARGE;
    *ret = m->text;
    *ret_size = m->size;
    return 0;
}

int flat_get_number(const Flat *f, const char *name, int64_t min, int64_t max, int64_t *ret)
{
    const FlatMember *m = get(f, name, FLAT_NUMBER);
    if (!m || m->number < min || m->number > max)
        return HMSG_ERROR_BAD_PACKAGE;
    *ret = m->number;
    return 0;
}

int flat_get_object(const Flat *f, const char *name, Flat *ret)
{
    const FlatMember *m = get(f, name, FLAT_OBJECT);
    return m ? flat_parse(m->text, m->size, ret) : HMSG_ERROR_BAD_PACKAGE;
}

int flat_expect_text(const Flat *f, const char *name, const char *value)
{
    const FlatMember *m = get(f, name, FLAT_TEXT);
    size_t n = strlen(value);
    return m && m->size == n && memcmp(m->text, value, n) == 0 ? 0 : HMSG_ERROR_BAD_PACKAGE; /* public */
}

int flat_get_bytes(const Flat *f, const char *name, void *ret, size_t size)
{
    const FlatMember *m = get(f, name, FLAT_TEXT);
    int r = m ? base64url_decode_exact(m->text, m->size, ret, size) : -EBADMSG;
    return r == -EBADMSG ? HMSG_ERROR_BAD_PACKAGE : r;
}

int flat_get_buf(const Flat *f, const char *name, Buf *ret)
{
    const FlatMember *m = get(f, name, FLAT_TEXT);
    int r = m ? base64url_decode(m->text, m->size, ret) : -EBADMSG;
    if (r == -EBADMSG)
        return HMSG_ERROR_BAD_PACKAGE;
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}
