/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/facts.h"

#include <errno.h>
#include <glib.h>
#include <sys/socket.h>

#include "cli/json-util.h"

typedef struct Fixture {
    sd_bus *bus;
    sd_bus_message *m;
    int peer;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    g_assert_cmpint(sd_bus_new(&f->bus), ==, 0);
    g_assert_cmpint(sd_bus_set_fd(f->bus, pair[0], pair[0]), >=, 0);
    g_assert_cmpint(sd_bus_start(f->bus), >=, 0);
    g_assert_cmpint(sd_bus_message_new_signal(f->bus, &f->m, "/x", "org.hmsg.Test", "Test"), >=, 0);
    f->peer = pair[1];
}

static void tear_down(Fixture *f, gconstpointer data)
{
    sd_bus_message_unref(f->m);
    sd_bus_close_unref(f->bus);
    close(f->peer);
}

static json_t *facts(Fixture *f, int expected)
{
    json_t *json = NULL;

    g_assert_cmpint(sd_bus_message_seal(f->m, 1, 0), >=, 0);
    g_assert_cmpint(facts_read(f->m, &json), ==, expected);
    return json;
}

static void expect(Fixture *f, const char *expected)
{
    _cleanup_(json_unrefp) json_t *json = facts(f, 0);
    _cleanup_(json_unrefp) json_t *wanted = json_loads(expected, JSON_DECODE_ANY, NULL);

    g_assert_nonnull(wanted);
    g_assert_true(json_equal(json, wanted));
}

static void test_record(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(sd_bus_message_append(f->m, "a{sv}", 6, "s", "s", "text", "b", "b", 1, "u", "u", 7, "t",
                                          "t", UINT64_MAX, "as", "as", 2, "x", "y", "rows", "a(sss)", 1, "1",
                                          "2", "3"),
                    >=, 0);
    expect(f, "{\"s\":\"text\",\"b\":true,\"u\":7,\"t\":9223372036854775807,\"as\":[\"x\",\"y\"],"
              "\"rows\":[[\"1\",\"2\",\"3\"]]}");
}

static void test_records(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(sd_bus_message_append(f->m, "aa{sv}", 2, 1, "id", "s", "1", 0), >=, 0);
    expect(f, "[{\"id\":\"1\"},{}]");
}

static void test_empty(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(sd_bus_message_append(f->m, "a{sv}", 0), >=, 0);
    expect(f, "{}");
}

static void test_nothing(Fixture *f, gconstpointer data)
{
    g_assert_null(facts(f, -EBADMSG));
}

static void test_other_type(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(sd_bus_message_append(f->m, "a{sv}", 1, "d", "d", 1.5), >=, 0);
    g_assert_null(facts(f, -EBADMSG));
}

static void test_other_dictionary(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(sd_bus_message_append(f->m, "a{us}", 1, 1, "x"), >=, 0);
    g_assert_null(facts(f, -EBADMSG));
}

static void test_deep(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(sd_bus_message_append(f->m, "v", "v", "v", "v", "v", "v", "v", "v", "v", "s", "x"), >=,
                    0);
    g_assert_null(facts(f, -EBADMSG));
}

static void test_name(void)
{
    static const char *const names[] = {"a", "b"};
    _cleanup_(json_unrefp) json_t *rows = json_loads("[[1,2],[3],[4,5,6],\"x\"]", 0, NULL);
    _cleanup_(json_unrefp) json_t *wanted =
        json_loads("[{\"a\":1,\"b\":2},{\"a\":3},{\"a\":4,\"b\":5},{}]", 0, NULL);
    _cleanup_(json_unrefp) json_t *named = NULL, *none = NULL;

    g_assert_cmpint(facts_name(rows, names, 2, &named), ==, 0);
    g_assert_true(json_equal(named, wanted));
    g_assert_cmpint(facts_name(NULL, names, 2, &none), ==, 0);
    g_assert_cmpuint(json_array_size(none), ==, 0);
}

#define ADD(name, function) g_test_add("/cli/facts/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    ADD("record", test_record);
    ADD("records", test_records);
    ADD("empty", test_empty);
    ADD("nothing", test_nothing);
    ADD("other-type", test_other_type);
    ADD("other-dictionary", test_other_dictionary);
    ADD("deep", test_deep);
    g_test_add_func("/cli/facts/name", test_name);
    return g_test_run();
}
