/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/bus-util.h"

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/socket.h>

#include "libhmsg/base/error.h"

/* Messages need a connection to be made on; nothing is sent. */
typedef struct Fixture {
    sd_bus *bus;
    sd_bus_message *m;
    int other;
    sd_bus_error error;
} Fixture;

typedef struct Options {
    bool flag;
    uint32_t small;
    uint64_t large;
    const char *text;
    BusBytes bytes;
    BusBytesList list;
    BusRange range;
} Options;

static const BusOption options[] = {
    {"flag", 'b', offsetof(Options, flag)},   {"small", 'u', offsetof(Options, small)},
    {"large", 't', offsetof(Options, large)}, {"text", 's', offsetof(Options, text)},
    {"bytes", 'y', offsetof(Options, bytes)}, {"list", 'Y', offsetof(Options, list)},
    {"range", 'r', offsetof(Options, range)},
};

static void set_up(Fixture *f, gconstpointer data)
{
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), ==, 0);
    f->other = pair[1];
    f->error = SD_BUS_ERROR_NULL;
    g_assert_cmpint(sd_bus_new(&f->bus), ==, 0);
    g_assert_cmpint(sd_bus_set_fd(f->bus, pair[0], pair[0]), >=, 0);
    g_assert_cmpint(sd_bus_start(f->bus), >=, 0);
    g_assert_cmpint(sd_bus_message_new_method_call(f->bus, &f->m, NULL, "/a", "a.b", "C"), >=, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    sd_bus_error_free(&f->error);
    sd_bus_message_unref(f->m);
    sd_bus_close_unref(f->bus);
    fd_close(f->other);
}

/* What was appended is now to be read. */
static void sealed(Fixture *f)
{
    g_assert_cmpint(sd_bus_message_seal(f->m, 1, 0), >=, 0);
    g_assert_cmpint(sd_bus_message_rewind(f->m, true), >=, 0);
}

static int read_options(Fixture *f, Options *o)
{
    return bus_read_options(f->m, options, G_N_ELEMENTS(options), o, &f->error);
}

static void expect_refusal(Fixture *f)
{
    Options o = {0};

    sealed(f);
    g_assert_cmpint(read_options(f, &o), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_true(sd_bus_error_has_name(&f->error, SD_BUS_ERROR_INVALID_ARGS));
    g_assert_cmpint(bus_fail(&f->error, HMSG_ERROR_INVALID_ARGS, NULL), <, 0);
}

static void test_all(Fixture *f, gconstpointer data)
{
    Options o = {0};

    g_assert_cmpint(sd_bus_message_append(f->m, "a{sv}", 7, "flag", "b", 1, "small", "u", 7u, "large", "t",
                                          UINT64_MAX, "text", "s", "hello", "bytes", "ay", 3, 1, 2, 3, "list",
                                          "aay", 2, 1, 9, 0, "range", "(tt)", UINT64_C(5), UINT64_MAX),
                    >=, 0);
    sealed(f);
    g_assert_cmpint(read_options(f, &o), ==, 0);
    g_assert_true(o.flag);
    g_assert_cmpuint(o.small, ==, 7);
    g_assert_cmpuint(o.large, ==, UINT64_MAX);
    g_assert_cmpstr(o.text, ==, "hello");
    g_assert_cmpmem(o.bytes.data, o.bytes.size, "\1\2\3", 3);
    g_assert_cmpuint(o.list.n, ==, 2);
    g_assert_cmpmem(o.list.items[0].data, o.list.items[0].size, "\11", 1);
    g_assert_cmpuint(o.list.items[1].size, ==, 0);
    g_assert_true(o.range.given);
    g_assert_cmpuint(o.range.offset, ==, 5);
    g_assert_cmpuint(o.range.length, ==, UINT64_MAX);
}

static void test_absent(Fixture *f, gconstpointer data)
{
    Options o = {.text = "default", .flag = true};

    g_assert_cmpint(sd_bus_message_append(f->m, "a{sv}", 0), >=, 0);
    sealed(f);
    g_assert_cmpint(read_options(f, &o), ==, 0);
    g_assert_cmpstr(o.text, ==, "default");
    g_assert_true(o.flag);
    g_assert_false(o.range.given);
}

static void test_unknown(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(sd_bus_message_append(f->m, "a{sv}", 2, "flag", "b", 1, "flags", "b", 1), >=, 0);
    expect_refusal(f);
}

static void test_twice(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(sd_bus_message_append(f->m, "a{sv}", 2, "flag", "b", 0, "flag", "b", 1), >=, 0);
    expect_refusal(f);
}

static void test_other_type(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(sd_bus_message_append(f->m, "a{sv}", 1, "small", "s", "7"), >=, 0);
    expect_refusal(f);
}

static void test_variant_in_variant(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(sd_bus_message_append(f->m, "a{sv}", 1, "text", "v", "s", "hello"), >=, 0);
    expect_refusal(f);
}

static void test_none(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(sd_bus_message_append(f->m, "a{sv}", 1, "flag", "b", 1), >=, 0);
    sealed(f);
    g_assert_cmpint(bus_read_no_options(f->m, &f->error), ==, HMSG_ERROR_INVALID_ARGS);
}

static void append_list(Fixture *f, const char *type, unsigned n)
{
    g_assert_cmpint(sd_bus_message_open_container(f->m, 'a', type), >=, 0);
    for (unsigned i = 0; i < n; i++)
        g_assert_cmpint(*type == 's' ? sd_bus_message_append_basic(f->m, 's', "x")
                                     : sd_bus_message_append_array(f->m, 'y', "x", 1),
                        >=, 0);
    g_assert_cmpint(sd_bus_message_close_container(f->m), >=, 0);
}

static void test_list_limit(Fixture *f, gconstpointer data)
{
    const unsigned n = GPOINTER_TO_UINT(data);
    g_autofree Options *o = g_new0(Options, 1);

    g_assert_cmpint(sd_bus_message_open_container(f->m, 'a', "{sv}"), >=, 0);
    g_assert_cmpint(sd_bus_message_open_container(f->m, 'e', "sv"), >=, 0);
    g_assert_cmpint(sd_bus_message_append_basic(f->m, 's', "list"), >=, 0);
    g_assert_cmpint(sd_bus_message_open_container(f->m, 'v', "aay"), >=, 0);
    append_list(f, "ay", n);
    for (unsigned i = 0; i < 3; i++)
        g_assert_cmpint(sd_bus_message_close_container(f->m), >=, 0);
    sealed(f);
    g_assert_cmpint(read_options(f, o), ==, n > BUS_LIST_MAX ? HMSG_ERROR_INVALID_ARGS : 0);
    g_assert_cmpint(sd_bus_error_is_set(&f->error), ==, n > BUS_LIST_MAX);
}

static void test_strings(Fixture *f, gconstpointer data)
{
    const unsigned n = GPOINTER_TO_UINT(data);
    g_autofree BusStrings *strings = g_new0(BusStrings, 1);

    append_list(f, "s", n);
    sealed(f);
    g_assert_cmpint(bus_read_strings(f->m, strings, &f->error), ==,
                    n > BUS_LIST_MAX ? HMSG_ERROR_INVALID_ARGS : 0);
    if (n <= BUS_LIST_MAX)
        g_assert_cmpuint(strings->n, ==, n);
}

static void test_fail(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(bus_fail(&f->error, HMSG_ERROR_LOCKED, NULL), <, 0);
    g_assert_cmpstr(f->error.name, ==, "org.hmsg.Agent1.Error.Locked");
    g_assert_cmpstr(f->error.message, ==, error_message(HMSG_ERROR_LOCKED));
    sd_bus_error_free(&f->error);
    g_assert_cmpint(bus_fail(&f->error, HMSG_ERROR_NOT_FOUND, "Nobody"), <, 0);
    g_assert_cmpstr(f->error.message, ==, "Nobody");
    /* the first reason stays */
    g_assert_cmpint(bus_fail(&f->error, HMSG_ERROR_LOCKED, NULL), <, 0);
    g_assert_cmpstr(f->error.message, ==, "Nobody");
}

static void test_append(Fixture *f, gconstpointer data)
{
    static const char *const values[] = {"a", "b"};

    g_assert_cmpint(sd_bus_message_open_container(f->m, 'a', "{sv}"), >=, 0);
    g_assert_cmpint(bus_append_string(f->m, "text", "hello"), >=, 0);
    g_assert_cmpint(bus_append_bool(f->m, "flag", true), >=, 0);
    g_assert_cmpint(bus_append_u32(f->m, "small", 7), >=, 0);
    g_assert_cmpint(bus_append_u64(f->m, "large", 8), >=, 0);
    g_assert_cmpint(bus_append_strings(f->m, "strings", values, G_N_ELEMENTS(values)), >=, 0);
    g_assert_cmpint(sd_bus_message_close_container(f->m), >=, 0);
    sealed(f);
    g_assert_cmpstr(sd_bus_message_get_signature(f->m, true), ==, "a{sv}");
    const char *key, *text;
    g_assert_cmpint(sd_bus_message_enter_container(f->m, 'a', "{sv}"), >, 0);
    g_assert_cmpint(sd_bus_message_read(f->m, "{sv}", &key, "s", &text), >, 0);
    g_assert_cmpstr(key, ==, "text");
    g_assert_cmpstr(text, ==, "hello");
    g_assert_cmpint(sd_bus_message_skip(f->m, "{sv}{sv}{sv}"), >, 0);
    const char *a, *b;
    g_assert_cmpint(sd_bus_message_read(f->m, "{sv}", &key, "as", 2, &a, &b), >, 0);
    g_assert_cmpstr(b, ==, "b");
}

static void add(const char *path, gconstpointer data, void (*f)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, data, set_up, f, tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("/agent/bus-util/options/all", NULL, test_all);
    add("/agent/bus-util/options/absent", NULL, test_absent);
    add("/agent/bus-util/options/unknown", NULL, test_unknown);
    add("/agent/bus-util/options/twice", NULL, test_twice);
    add("/agent/bus-util/options/other-type", NULL, test_other_type);
    add("/agent/bus-util/options/variant-in-variant", NULL, test_variant_in_variant);
    add("/agent/bus-util/options/none", NULL, test_none);
    add("/agent/bus-util/list/limit", GUINT_TO_POINTER(BUS_LIST_MAX), test_list_limit);
    add("/agent/bus-util/list/over", GUINT_TO_POINTER(BUS_LIST_MAX + 1), test_list_limit);
    add("/agent/bus-util/strings/limit", GUINT_TO_POINTER(BUS_LIST_MAX), test_strings);
    add("/agent/bus-util/strings/over", GUINT_TO_POINTER(BUS_LIST_MAX + 1), test_strings);
    add("/agent/bus-util/fail", NULL, test_fail);
    add("/agent/bus-util/append", NULL, test_append);
    return g_test_run();
}
