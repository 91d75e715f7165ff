/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/render.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "cli/json-util.h"

#define CELL_SIZE_MAX 4096u
#define COLUMNS_MAX 16u

/* What changes the direction, is not seen, or ends a line in a terminal's eyes. */
static bool misleads(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x0000, 0x001f},   {0x007f, 0x009f},   {0x00ad, 0x00ad}, {0x061c, 0x061c},    {0x115f, 0x1160},
        {0x17b4, 0x17b5},   {0x180b, 0x180f},   {0x200b, 0x200f}, {0x2028, 0x202e},    {0x2060, 0x206f},
        {0x3164, 0x3164},   {0xfe00, 0xfe0f},   {0xfeff, 0xfeff}, {0xffa0, 0xffa0},    {0xfff0, 0xfffb},
        {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe000, 0xf8ff}, {0xe0000, 0x10ffff},
    };

    for (size_t i = 0; i < ELEMENTSOF(ranges); i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}

/* Bytes of the UTF-8 sequence at p (RFC 3629), 0 when it is none. */
static size_t decode(const uint8_t *p, size_t n, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = p[0] < 0x80   ? 1
                    : p[0] < 0xc0 ? 0
                    : p[0] < 0xe0 ? 2
                    : p[0] < 0xf0 ? 3
                    : p[0] < 0xf8 ? 4
                                  : 0;
    uint32_t c = length == 1 ? p[0] : length == 2 ? p[0] & 0x1fu : length == 3 ? p[0] & 0x0fu : p[0] & 0x07u;

    if (length == 0 || length > n)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < least[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *ret = c;
    return length;
}

int render_text(Buf *out, const void *data, size_t n, bool lines)
{
    const uint8_t *p = data, *end = p + n;
    int r = 0;

    while (r == 0 && p < end) {
        uint32_t c = 0;
        size_t length = decode(p, (size_t)(end - p), &c);

        if (length == 0)
            r = buf_printf(out, "\\x%02x", *p);
        else if (lines && c == '\r' && p + 1 < end && p[1] == '\n')
            ;
        else if (lines && (c == '\n' || c == '\t'))
            r = buf_append(out, p, 1);
        else if (c < 0x80 && misleads(c))
            r = buf_printf(out, "\\x%02x", (unsigned)c);
        else if (misleads(c))
            r = buf_printf(out, "\\u{%04x}", (unsigned)c);
        else
            r = buf_append(out, p, length);
        p += length > 0 ? length : 1;
    }
    return r;
}

static int render_size(Buf *out, uint64_t n)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double scaled = (double)n;
    size_t i = 0;

    while (scaled >= 1024 && i + 1 < ELEMENTSOF(units)) {
        scaled /= 1024;
        i++;
    }
    return i == 0 ? buf_printf(out, "%" PRIu64 " B", n) : buf_printf(out, "%.1f %s", scaled, units[i]);
}

static int render_time(Buf *out, int64_t seconds)
{
    time_t t = (time_t)seconds;
    struct tm parts;
    char text[64];

    if (seconds <= 0)
        return buf_append_string(out, "-");
    if (!localtime_r(&t, &parts) || strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts) == 0)
        return buf_printf(out, "%" PRIi64, seconds);
    return buf_append_string(out, text);
}

static int render_strings(Buf *out, const json_t *array)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < json_array_size(array); i++) {
        r = i > 0 ? buf_append_string(out, ", ") : 0;
        if (r == 0)
            r = render_value(out, json_array_get(array, i), RENDER_TEXT);
    }
    return r;
}

int render_value(Buf *out, const json_t *value, RenderKind kind)
{
    if (json_is_array(value))
        return render_strings(out, value);
    if (json_is_string(value))
        return render_text(out, json_string_value(value), json_string_length(value), false);
    if (json_is_boolean(value))
        return buf_append_string(out, json_is_true(value) ? "yes" : "no");
    if (!json_is_integer(value))
        return 0;
    if (kind == RENDER_SIZE)
        return render_size(out, (uint64_t)json_integer_value(value));
    if (kind == RENDER_TIME)
        return render_time(out, json_integer_value(value));
    return buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
}

/* Columns that a text takes; bytes that continue a character take none. */
static size_t width_of(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static int render_cell(const json_t *row, const RenderField *f, Buf *cell)
{
    int r;

    buf_clear(cell);
    r = render_value(cell, json_object_get(row, f->key), f->kind);
    return r == 0 && cell->size == 0 ? buf_append_string(cell, "-") : r;
}

static int add_padded(Buf *out, const char *text, size_t width, bool last)
{
    size_t used = width_of(text);

    if (last)
        return buf_printf(out, "%s\n", text);
    return buf_printf(out, "%s%*s", text, (int)(width - used + 2), "");
}

int render_table(Buf *out, const json_t *rows, const RenderField *fields, size_t n)
{
    _cleanup_(buf_done) Buf cell = BUF_MAX(CELL_SIZE_MAX);
    size_t widths[COLUMNS_MAX];
    int r = 0;

    if (n > COLUMNS_MAX)
        return -EINVAL;
    if (json_array_size(rows) == 0)
        return 0;
    for (size_t f = 0; f < n; f++) {
        widths[f] = width_of(fields[f].title);
        for (size_t i = 0; r == 0 && i < json_array_size(rows); i++) {
            r = render_cell(json_array_get(rows, i), &fields[f], &cell);
            size_t width = width_of(buf_text(&cell));
            widths[f] = width > widths[f] ? width : widths[f];
        }
    }
    for (size_t f = 0; r == 0 && f < n; f++)
        r = add_padded(out, fields[f].title, widths[f], f + 1 == n);
    for (size_t i = 0; r == 0 && i < json_array_size(rows); i++)
        for (size_t f = 0; r == 0 && f < n; f++) {
            r = render_cell(json_array_get(rows, i), &fields[f], &cell);
            if (r == 0)
                r = add_padded(out, buf_text(&cell), widths[f], f + 1 == n);
        }
    return r;
}

int render_record(Buf *out, const json_t *object, const RenderField *fields, size_t n)
{
    size_t width = 0;
    int r = 0;

    for (size_t f = 0; f < n; f++)
        if (width_of(fields[f].title) > width)
            width = width_of(fields[f].title);
    for (size_t f = 0; r == 0 && f < n; f++) {
        const json_t *value = json_object_get(object, fields[f].key);

        if (!value)
            continue;
        r = buf_printf(out, "%s:%*s", fields[f].title, (int)(width - width_of(fields[f].title) + 2), "");
        size_t before = out->size;
        if (r == 0)
            r = render_value(out, value, fields[f].kind);
        if (r == 0)
            r = buf_append_string(out, out->size > before ? "\n" : "-\n");
    }
    return r;
}
