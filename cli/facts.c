/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/facts.h"

#include <errno.h>
#include <string.h>

#include "cli/json-util.h"

static int read_value(sd_bus_message *m, unsigned depth, json_t **ret);

static int read_entry(sd_bus_message *m, unsigned depth, json_t *object)
{
    _cleanup_(json_unrefp) json_t *value = NULL;
    const char *key;
    int r;

    r = sd_bus_message_read_basic(m, 's', &key);
    if (r >= 0)
        r = read_value(m, depth, &value);
    if (r < 0)
        return r;
    return json_object_set(object, key, value) < 0 ? -ENOMEM : 0;
}

/* contents: of the container, as peeked; entries of a dictionary become members. */
static int read_container(sd_bus_message *m, char type, const char *contents, unsigned depth, json_t **ret)
{
    bool dictionary = type == 'a' && contents[0] == '{';
    _cleanup_(json_unrefp) json_t *all = dictionary ? json_object() : json_array();
    int r;

    if (!all)
        return -ENOMEM;
    if (dictionary && strcmp(contents, "{sv}") != 0)
        return -EBADMSG;
    r = sd_bus_message_enter_container(m, type, contents);
    while (r >= 0 && (r = sd_bus_message_at_end(m, 0)) == 0) {
        if (dictionary) {
            r = sd_bus_message_enter_container(m, 'e', "sv");
            if (r >= 0)
                r = read_entry(m, depth, all);
            if (r >= 0)
                r = sd_bus_message_exit_container(m);
        } else {
            json_t *value = NULL;

            r = read_value(m, depth, &value);
            if (r >= 0 && json_array_append_new(all, value) < 0)
                r = -ENOMEM;
        }
    }
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(all);
    return 0;
}

static int read_variant(sd_bus_message *m, const char *contents, unsigned depth, json_t **ret)
{
    _cleanup_(json_unrefp) json_t *value = NULL;
    int r;

    r = sd_bus_message_enter_container(m, 'v', contents);
    if (r >= 0)
        r = read_value(m, depth, &value);
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(value);
    return 0;
}

static int read_basic(sd_bus_message *m, char type, json_t **ret)
{
    union {
        const char *s;
        int b;
        uint32_t u;
        uint64_t t;
    } v;
    int r = sd_bus_message_read_basic(m, type, &v);

    if (r < 0)
        return r;
    if (type == 's')
        *ret = json_string(v.s);
    else if (type == 'b')
        *ret = json_boolean(v.b);
    else if (type == 'u')
        *ret = json_integer(v.u);
    else
        *ret = json_integer(v.t > INT64_MAX ? INT64_MAX : (json_int_t)v.t);
    return *ret ? 0 : -ENOMEM;
}

static int read_value(sd_bus_message *m, unsigned depth, json_t **ret)
{
    const char *contents;
    char type;
    int r;

    r = sd_bus_message_peek_type(m, &type, &contents);
    if (r <= 0 || depth == 0)
        return r < 0 ? r : -EBADMSG;
    if (type == 'v')
        return read_variant(m, contents, depth - 1, ret);
    if (type == 'a' || type == 'r')
        return read_container(m, type, contents, depth - 1, ret);
    return strchr("sbut", type) ? read_basic(m, type, ret) : -EBADMSG;
}

int facts_read(sd_bus_message *m, json_t **ret)
{
    return read_value(m, FACTS_DEPTH_MAX, ret);
}

int facts_name(const json_t *rows, const char *const *names, size_t n, json_t **ret)
{
    _cleanup_(json_unrefp) json_t *all = json_array();

    for (size_t i = 0; all && i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        json_t *object = json_object();

        for (size_t f = 0; f < n && f < json_array_size(row); f++)
            if (json_object_set(object, names[f], json_array_get(row, f)) < 0) {
                json_decref(object);
                return -ENOMEM;
            }
        if (json_array_append_new(all, object) < 0)
            return -ENOMEM;
    }
    if (!all)
        return -ENOMEM;
    *ret = TAKE_PTR(all);
    return 0;
}
