/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/bus-util.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

/* What callers named is quoted in part: the bus would drop us for half a character. */
_printf_(3, 4) static int set_error(sd_bus_error *error, const char *name, const char *format, ...)
{
    char *text = NULL;
    va_list ap;
    int r;

    va_start(ap, format);
    r = vasprintf(&text, format, ap);
    va_end(ap);
    if (r < 0)
        return sd_bus_error_set_errno(error, ENOMEM);
    utf8_repair(text);
    r = sd_bus_error_set(error, name, text);
    free(text);
    return r;
}

static const char *option_type(char type)
{
    switch (type) {
    case 'y':
        return "ay";
    case 'Y':
        return "aay";
    case 'r':
        return "(tt)";
    case 'b':
        return "b";
    case 'u':
        return "u";
    case 't':
        return "t";
    case 'h':
        return "h";
    default:
        return "s";
    }
}

int bus_read_bytes(sd_bus_message *m, BusBytes *ret)
{
    const void *data = NULL;
    size_t size = 0;
    int r;

    r = sd_bus_message_read_array(m, 'y', &data, &size);
    if (r < 0)
        return r;
    *ret = (BusBytes){data ? data : "", size};
    return 0;
}

static int read_bytes_list(sd_bus_message *m, BusBytesList *ret)
{
    int r;

    ret->n = 0;
    r = sd_bus_message_enter_container(m, 'a', "ay");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_at_end(m, 0)) == 0) {
        if (ret->n == BUS_LIST_MAX)
            return HMSG_ERROR_INVALID_ARGS;
        r = bus_read_bytes(m, &ret->items[ret->n]);
        if (r < 0)
            return r;
        ret->n++;
    }
    if (r < 0)
        return r;
    r = sd_bus_message_exit_container(m);
    return r < 0 ? r : 0;
}

int bus_read_strings(sd_bus_message *m, BusStrings *ret, sd_bus_error *error)
{
    int r;

    ret->n = 0;
    r = sd_bus_message_enter_container(m, 'a', "s");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_at_end(m, 0)) == 0) {
        if (ret->n == BUS_LIST_MAX) {
            (void)set_error(error, SD_BUS_ERROR_INVALID_ARGS, "More than %u recipients", BUS_LIST_MAX);
            return HMSG_ERROR_INVALID_ARGS;
        }
        r = sd_bus_message_read_basic(m, 's', &ret->items[ret->n]);
        if (r < 0)
            return r;
        ret->n++;
    }
    if (r < 0)
        return r;
    r = sd_bus_message_exit_container(m);
    return r < 0 ? r : 0;
}

static int read_range(sd_bus_message *m, BusRange *ret)
{
    int r;

    r = sd_bus_message_read(m, "(tt)", &ret->offset, &ret->length);
    ret->given = r >= 0;
    return r < 0 ? r : 0;
}

static int read_value(sd_bus_message *m, char type, void *field)
{
    int v, r;

    switch (type) {
    case 'y':
        return bus_read_bytes(m, field);
    case 'Y':
        return read_bytes_list(m, field);
    case 'r':
        return read_range(m, field);
    case 'b':
        r = sd_bus_message_read_basic(m, 'b', &v);
        if (r >= 0)
            *(bool *)field = v;
        return r < 0 ? r : 0;
    default:
        r = sd_bus_message_read_basic(m, type, field);
        return r < 0 ? r : 0;
    }
}

static int read_option(sd_bus_message *m, const BusOption *options, size_t n, void *target, uint64_t *seen,
                       sd_bus_error *error)
{
    const char *key, *contents;
    size_t i;
    char type;
    int r;

    r = sd_bus_message_read_basic(m, 's', &key);
    if (r < 0)
        return r;
    for (i = 0; i < n && strcmp(options[i].name, key) != 0; i++)
        ;
    if (i == n) {
        (void)set_error(error, SD_BUS_ERROR_INVALID_ARGS, "There is no option \"%.64s\"", key);
        return HMSG_ERROR_INVALID_ARGS;
    }
    if (*seen & (UINT64_C(1) << i)) {
        (void)set_error(error, SD_BUS_ERROR_INVALID_ARGS, "The option \"%s\" stands twice", key);
        return HMSG_ERROR_INVALID_ARGS;
    }
    *seen |= UINT64_C(1) << i;

    r = sd_bus_message_peek_type(m, &type, &contents);
    if (r < 0)
        return r;
    if (type != 'v' || strcmp(contents, option_type(options[i].type)) != 0) {
        (void)set_error(error, SD_BUS_ERROR_INVALID_ARGS, "The option \"%s\" is of type %s", key,
                        option_type(options[i].type));
        return HMSG_ERROR_INVALID_ARGS;
    }
    r = sd_bus_message_enter_container(m, 'v', contents);
    if (r < 0)
        return r;
    r = read_value(m, options[i].type, (uint8_t *)target + options[i].offset);
    if (r == HMSG_ERROR_INVALID_ARGS)
        (void)set_error(error, SD_BUS_ERROR_INVALID_ARGS, "The option \"%s\" is too long", key);
    if (r != 0)
        return r;
    return sd_bus_message_exit_container(m);
}

int bus_read_options(sd_bus_message *m, const BusOption *options, size_t n, void *target, sd_bus_error *error)
{
    uint64_t seen = 0;
    int r;

    r = sd_bus_message_enter_container(m, 'a', "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = read_option(m, options, n, target, &seen, error);
        if (r == HMSG_ERROR_INVALID_ARGS || r < 0)
            return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    r = sd_bus_message_exit_container(m);
    return r < 0 ? r : 0;
}

int bus_read_no_options(sd_bus_message *m, sd_bus_error *error)
{
    return bus_read_options(m, NULL, 0, NULL, error);
}

int bus_fail(sd_bus_error *error, int r, const char *detail)
{
    if (sd_bus_error_is_set(error))
        return -sd_bus_error_get_errno(error);
    if (!detail || !*detail)
        detail = error_message(r);
    return set_error(error, error_dbus_name(r), "%s", detail);
}

int bus_append_string(sd_bus_message *m, const char *key, const char *value)
{
    return sd_bus_message_append(m, "{sv}", key, "s", value);
}

int bus_append_strings(sd_bus_message *m, const char *key, const char *const *values, size_t n)
{
    int r;

    r = sd_bus_message_open_container(m, 'e', "sv");
    if (r >= 0)
        r = sd_bus_message_append_basic(m, 's', key);
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'v', "as");
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'a', "s");
    for (size_t i = 0; i < n && r >= 0; i++)
        r = sd_bus_message_append_basic(m, 's', values[i]);
    for (unsigned i = 0; i < 3 && r >= 0; i++)
        r = sd_bus_message_close_container(m);
    return r;
}

int bus_append_bool(sd_bus_message *m, const char *key, bool value)
{
    return sd_bus_message_append(m, "{sv}", key, "b", (int)value);
}

int bus_append_u32(sd_bus_message *m, const char *key, uint32_t value)
{
    return sd_bus_message_append(m, "{sv}", key, "u", value);
}

int bus_append_u64(sd_bus_message *m, const char *key, uint64_t value)
{
    return sd_bus_message_append(m, "{sv}", key, "t", value);
}

bool bus_is_broadcast(sd_bus_message *m)
{
    return !sd_bus_message_get_destination(m);
}
