/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Arguments of D-Bus calls. The input is a list of what to append to a message: a byte that says which kind,
 * a length, bytes. The message is then read by the functions that all methods read theirs with. */

#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "agent/bus-util.h"
#include "libhmsg/base/error.h"
#include "tests/fuzz/bus.h"
#include "tests/fuzz/fuzz.h"

typedef struct Input {
    const uint8_t *data;
    size_t size;
} Input;

typedef struct Options {
    bool flag;
    uint32_t small;
    uint64_t large;
    int fd;
    const char *text;
    BusBytes bytes;
    BusBytesList list;
} Options;

static const BusOption options[] = {
    {"b", 'b', offsetof(Options, flag)},  {"u", 'u', offsetof(Options, small)},
    {"t", 't', offsetof(Options, large)}, {"h", 'h', offsetof(Options, fd)},
    {"s", 's', offsetof(Options, text)},  {"y", 'y', offsetof(Options, bytes)},
    {"Y", 'Y', offsetof(Options, list)},
};

static uint8_t take(Input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

static size_t take_bytes(Input *in, const uint8_t **ret)
{
    size_t n = take(in);

    n = n < in->size ? n : in->size;
    *ret = in->data;
    in->data += n;
    in->size -= n;
    return n;
}

static void add_text(sd_bus_message *m, Input *in)
{
    char text[256];
    const uint8_t *data;
    size_t n = take_bytes(in, &data);

    memcpy(text, n > 0 ? data : (const uint8_t *)"", n);
    text[n] = 0;
    (void)sd_bus_message_append_basic(m, 's', text); /* sd-bus refuses what is no UTF-8 */
}

static void add_bytes(sd_bus_message *m, Input *in)
{
    const uint8_t *data;
    size_t n = take_bytes(in, &data);

    (void)sd_bus_message_append_array(m, 'y', n > 0 ? data : (const uint8_t *)"", n);
}

static void add_list(sd_bus_message *m, Input *in, const char *type)
{
    unsigned n = take(in), times = take(in) % 3 + 1;

    if (sd_bus_message_open_container(m, 'a', type) < 0)
        return;
    for (unsigned i = 0; i < n * times; i++) {
        if (*type == 's')
            add_text(m, in);
        else
            add_bytes(m, in);
    }
    (void)sd_bus_message_close_container(m);
}

static void add_number(sd_bus_message *m, Input *in, char type)
{
    uint64_t v = take(in);

    v |= (uint64_t)take(in) << 56;
    if (type == 't')
        (void)sd_bus_message_append_basic(m, 't', &v);
    else
        (void)sd_bus_message_append_basic(m, type, &(uint32_t){(uint32_t)v});
}

static void add_value(sd_bus_message *m, Input *in)
{
    static const char *const types[] = {"b", "u", "t", "s", "ay", "aay", "as"};
    const char *type = types[take(in) % (sizeof(types) / sizeof(types[0]))];

    if (sd_bus_message_open_container(m, 'v', type) < 0)
        return;
    if (*type == 's')
        add_text(m, in);
    else if (*type != 'a')
        add_number(m, in, *type);
    else if (strcmp(type, "ay") == 0)
        add_bytes(m, in);
    else
        add_list(m, in, type + 1);
    (void)sd_bus_message_close_container(m);
}

static void add_options(sd_bus_message *m, Input *in)
{
    unsigned n = take(in) % 16;

    if (sd_bus_message_open_container(m, 'a', "{sv}") < 0)
        return;
    for (unsigned i = 0; i < n; i++) {
        if (sd_bus_message_open_container(m, 'e', "sv") < 0)
            break;
        add_text(m, in);
        add_value(m, in);
        (void)sd_bus_message_close_container(m);
    }
    (void)sd_bus_message_close_container(m);
}

static void build(sd_bus_message *m, Input *in)
{
    while (in->size > 0)
        switch (take(in) % 6) {
        case 0:
            add_text(m, in);
            break;
        case 1:
            add_bytes(m, in);
            break;
        case 2:
            add_list(m, in, "s");
            break;
        case 3:
            add_list(m, in, "ay");
            break;
        case 4:
            add_number(m, in, 't');
            break;
        default:
            add_options(m, in);
        }
}

/* What is refused has its words, as D-Bus takes them. */
static void check_error(int r, sd_bus_error *error)
{
    if (r > 0)
        fuzz_check(r == HMSG_ERROR_INVALID_ARGS && error->name && error->message, "a refusal says why");
    sd_bus_error_free(error);
}

static void read_options(sd_bus_message *m)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    Options o = {0};
    int r = bus_read_options(m, options, sizeof(options) / sizeof(options[0]), &o, &error);

    fuzz_must(o.list.n <= BUS_LIST_MAX, "a list keeps its limit");
    for (size_t i = 0; r == 0 && i < o.list.n; i++)
        fuzz_must(o.list.items[i].data != NULL, "bytes are somewhere");
    check_error(r, &error);
}

/* As a method with recipients does, then as one with bytes. */
static void read_all(sd_bus_message *m)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    BusBytes bytes = {0};
    BusStrings names;
    int r = bus_read_strings(m, &names, &error);

    fuzz_must(names.n <= BUS_LIST_MAX, "names keep their limit");
    check_error(r, &error);
    if (r == 0 && bus_read_bytes(m, &bytes) == 0)
        fuzz_must(bytes.data != NULL, "bytes are somewhere");
    if (r == 0)
        read_options(m);
    if (sd_bus_message_rewind(m, true) >= 0 && bus_read_bytes(m, &bytes) == 0)
        read_options(m);
    if (sd_bus_message_rewind(m, true) >= 0)
        read_options(m);
    if (sd_bus_message_rewind(m, true) >= 0)
        check_error(bus_read_no_options(m, &error), &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = {data, size};
    sd_bus_message *m = NULL;

    fuzz_must(sd_bus_message_new_method_call(fuzz_bus(), &m, NULL, "/a", "a.b", "C") >= 0, "a message");
    build(m, &in);
    if (sd_bus_message_seal(m, 1, 0) >= 0 && sd_bus_message_rewind(m, true) >= 0)
        read_all(m);
    sd_bus_message_unref(m);
    return 0;
}
