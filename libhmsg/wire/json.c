/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/limits.h"

static void *allocate_or_end(size_t n)
{
    void *p = malloc(n);
    if (!p)
        abort();
    return p;
}

void json_end_without_memory(void)
{
    json_set_alloc_funcs(allocate_or_end, free);
}

/* Looked at before jansson makes anything of it: there an empty object of two bytes becomes hundreds. What is
 * no JSON passes, for jansson to refuse. */
static bool within_limits(const char *text, size_t n)
{
    size_t depth = 0, values = 1;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
            continue;
        }
        if (c == '"')
            quoted = true;
        else if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && depth > 0)
            depth--;
        if (c == '{' || c == '[' || c == ',')
            values++;
        if (depth > JSON_DEPTH_MAX || values > JSON_VALUES_MAX)
            return false;
    }
    return true;
}

static int parse(const char *text, size_t n, bool object, bool *ret_twice, json_t **ret)
{
    json_error_t error;
    *ret_twice = false;
    if (!within_limits(text, n))
        return HMSG_ERROR_BAD_PACKAGE;
    json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (!j) {
        *ret_twice = json_error_code(&error) == json_error_duplicate_key;
        return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : HMSG_ERROR_BAD_PACKAGE;
    }
    if (object ? !json_is_object(j) : !json_is_array(j)) {
        json_decref(j);
        return HMSG_ERROR_BAD_PACKAGE;
    }
    *ret = j;
    return 0;
}

int json_parse_object(const char *text, size_t n, json_t **ret)
{
    bool twice = false;
    return parse(text, n, true, &twice, ret);
}

int json_parse_unique(const char *text, size_t n, bool *ret_twice, json_t **ret)
{
    return parse(text, n, true, ret_twice, ret);
}

int json_parse_array(const char *text, size_t n, json_t **ret)
{
    bool twice = false;
    return parse(text, n, false, &twice, ret);
}

typedef struct Writer {
    Buf *out;
    int result;
} Writer;

static int write_piece(const char *data, size_t n, void *userdata)
{
    Writer *w = userdata;
    w->result = buf_append(w->out, data, n);
    return w->result < 0 ? -1 : 0;
}

int json_write(const json_t *j, Buf *ret)
{
    size_t before = ret->size;
    Writer w = {.out = ret};
    if (json_dump_callback(j, write_piece, &w, JSON_COMPACT) == 0)
        return 0;
    buf_truncate(ret, before);
    return w.result < 0 ? w.result : -ENOMEM;
}

int json_check_names(const json_t *j, const char *const *names)
{
    size_t found = 0;
    for (; *names; names++)
        found += json_object_get(j, *names) ? 1 : 0;
    return found == json_object_size(j) ? 0 : HMSG_ERROR_BAD_PACKAGE;
}

bool json_has(const json_t *j, const char *name)
{
    return json_object_get(j, name) != NULL;
}

int json_get_text(const json_t *j, const char *name, size_t max, const char **ret, size_t *ret_size)
{
    const json_t *value = json_object_get(j, name);
    if (!json_is_string(value))
        return HMSG_ERROR_BAD_PACKAGE;
    size_t n = json_string_length(value);
    if (n > max)
        return HMSG_ERROR_TOO_LARGE;
    *ret = json_string_value(value);
    if (ret_size)
        *ret_size = n;
    return 0;
}

int json_get_number(const json_t *j, const char *name, int64_t min, int64_t max, int64_t *ret)
{
    const json_t *value = json_object_get(j, name);
    if (!json_is_integer(value))
        return HMSG_ERROR_BAD_PACKAGE;
    json_int_t n = json_integer_value(value);
    if (n < min || n > max)
        return HMSG_ERROR_BAD_PACKAGE;
    *ret = n;
    return 0;
}

int json_get_object(const json_t *j, const char *name, json_t **ret)
{
    json_t *value = json_object_get(j, name);
    if (!json_is_object(value))
        return HMSG_ERROR_BAD_PACKAGE;
    *ret = value;
    return 0;
}

int json_get_array(const json_t *j, const char *name, json_t **ret)
{
    json_t *value = json_object_get(j, name);
    if (!json_is_array(value))
        return HMSG_ERROR_BAD_PACKAGE;
    *ret = value;
    return 0;
}

int json_expect_text(const json_t *j, const char *name, const char *value)
{
    const json_t *member = json_object_get(j, name);
    if (!json_is_string(member) || strcmp(json_string_value(member), value) != 0)
        return HMSG_ERROR_BAD_PACKAGE;
    return 0;
}

int json_get_bytes(const json_t *j, const char *name, void *ret, size_t size)
{
    const json_t *value = json_object_get(j, name);
    if (!json_is_string(value))
        return HMSG_ERROR_BAD_PACKAGE;
    int r = base64url_decode_exact(json_string_value(value), json_string_length(value), ret, size);
    return r == -EBADMSG ? HMSG_ERROR_BAD_PACKAGE : r;
}

int json_get_buf(const json_t *j, const char *name, Buf *ret)
{
    const json_t *value = json_object_get(j, name);
    if (!json_is_string(value))
        return HMSG_ERROR_BAD_PACKAGE;
    int r = base64url_decode(json_string_value(value), json_string_length(value), ret);
    if (r == -EBADMSG)
        return HMSG_ERROR_BAD_PACKAGE;
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

int json_put(json_t *j, const char *name, json_t *value)
{
    return json_object_set_new(j, name, value) == 0 ? 0 : -ENOMEM;
}

int json_put_text(json_t *j, const char *name, const char *value)
{
    return json_put(j, name, json_string(value));
}

int json_put_text_n(json_t *j, const char *name, const char *value, size_t n)
{
    return json_put(j, name, json_stringn(value, n));
}

int json_put_number(json_t *j, const char *name, int64_t value)
{
    return json_put(j, name, json_integer(value));
}

int json_put_bytes(json_t *j, const char *name, const void *data, size_t n)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(BASE64URL_SIZE(n));
    int r = base64url_append(&text, data, n);
    return r < 0 ? r : json_put_text_n(j, name, buf_text(&text), text.size);
}
