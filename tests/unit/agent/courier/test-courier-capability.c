/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the courier does with sending capabilities: it carries them, and makes none. */

#include <unistd.h>

#include "libhmsg/wire/limits.h"
#include "tests/unit/agent/courier/courier-fixture.h"

#define INVALID "org.freedesktop.DBus.Error.InvalidArgs "
#define PATH "/v1/mailbox/capabilities"
#define MAC NONCE
#define LATER UINT64_C(4000000000)

static void test_submit(CourierFixture *f, gconstpointer data)
{
    static const char *const receipt[] = {"r.c.p", "r.l.y"};
    const char *request = "PUT /v1/mailboxes/" ID_A "/messages/" ID_B;
    g_autofree char *sent = NULL;
    int fd = courier_file_of("abc", 3);

    courier_log_in(f);
    fake_relay_set_json(f->relay, request, 201, "{\"receipt\":\"r.c.p\",\"relay\":\"r.l.y\"}");
    courier_check_strings(
        courier_call(f, "Submit", "ssshtts", f->name, ID_A, ID_B, fd, (uint64_t)3, (uint64_t)0, ID_B), 2,
        receipt);
    sent = fake_relay_header(f->relay, request, "hmsg-capability");
    g_assert_cmpstr(sent, ==, ID_B);
    courier_check_strings(
        courier_call(f, "Submit", "ssshtts", f->name, ID_A, ID_B, fd, (uint64_t)3, (uint64_t)0, ""), 2,
        receipt);
    g_assert_null(fake_relay_header(f->relay, request, "hmsg-capability"));
    /* nothing that could be another header */
    courier_fail(f, INVALID, "Submit", "ssshtts", f->name, ID_A, ID_B, fd, (uint64_t)3, (uint64_t)0,
                 ID_B "\r\nhmsg-expires: 1");
    courier_fail(f, INVALID, "Submit", "ssshtts", f->name, ID_A, ID_B, fd, (uint64_t)3, (uint64_t)0, "code");
    close(fd);
}

static sd_bus_message *grant_message(CourierFixture *f, size_t hash, uint64_t uses)
{
    sd_bus_message *m = NULL;

    g_assert_cmpint(
        sd_bus_message_new_method_call(f->bus, &m, NULL, "/org/hmsg/Courier1", "org.hmsg.Courier1", "Grant"),
        >=, 0);
    g_assert_cmpint(sd_bus_message_append_basic(m, 's', f->name), >=, 0);
    g_assert_cmpint(sd_bus_message_append_array(m, 'y', MAC, hash), >=, 0);
    g_assert_cmpint(sd_bus_message_append(m, "tt", uses, LATER), >=, 0);
    g_assert_cmpint(sd_bus_message_append_array(m, 'y', MAC, SHA256_SIZE), >=, 0);
    return m;
}

/* What the relay answered, or 0: the call failed. */
static uint64_t grant(CourierFixture *f, size_t hash, uint64_t uses)
{
    sd_bus_message *m = grant_message(f, hash, uses), *reply = NULL;
    uint64_t number = 0;

    if (sd_bus_call(f->bus, m, 0, NULL, &reply) >= 0)
        g_assert_cmpint(sd_bus_message_read(reply, "t", &number), >, 0);
    sd_bus_message_unref(m);
    sd_bus_message_unref(reply);
    return number;
}

static bool take_back(CourierFixture *f, uint64_t number, size_t mac)
{
    sd_bus_message *m = NULL, *reply = NULL;
    int r;

    g_assert_cmpint(
        sd_bus_message_new_method_call(f->bus, &m, NULL, "/org/hmsg/Courier1", "org.hmsg.Courier1", "Revoke"),
        >=, 0);
    g_assert_cmpint(sd_bus_message_append(m, "st", f->name, number), >=, 0);
    g_assert_cmpint(sd_bus_message_append_array(m, 'y', MAC, mac), >=, 0);
    r = sd_bus_call(f->bus, m, 0, NULL, &reply);
    sd_bus_message_unref(m);
    sd_bus_message_unref(reply);
    return r >= 0;
}

static void test_change(CourierFixture *f, gconstpointer data)
{
    const FakeAnswer gone = {.status = 204};

    g_assert_cmpuint(grant(f, SHA256_SIZE, 3), ==, 0); /* not logged in */
    g_assert_false(take_back(f, 5, SHA256_SIZE));
    courier_log_in(f);
    fake_relay_set_json(f->relay, "POST " PATH, 201, "{\"number\":5}");
    g_assert_cmpuint(grant(f, SHA256_SIZE, 3), ==, 5);
    courier_check_sent(f, "POST " PATH,
                       "{\"hash\":" HASH ",\"uses\":3,\"expires\":4000000000,\"mac\":" HASH "}");
    g_assert_cmpuint(grant(f, SHA256_SIZE - 1, 3), ==, 0);
    g_assert_cmpuint(grant(f, SHA256_SIZE, 0), ==, 0);
    g_assert_cmpuint(grant(f, SHA256_SIZE, CAPABILITY_USES_MAX + 1), ==, 0);
    fake_relay_set_json(f->relay, "POST " PATH, 201, "{\"number\":\"5\"}");
    g_assert_cmpuint(grant(f, SHA256_SIZE, 3), ==, 0);

    fake_relay_set(f->relay, "POST " PATH "/revocations", &gone);
    g_assert_true(take_back(f, 5, SHA256_SIZE));
    courier_check_sent(f, "POST " PATH "/revocations", "{\"number\":5,\"mac\":" HASH "}");
    g_assert_false(take_back(f, 0, SHA256_SIZE));
    g_assert_false(take_back(f, 5, SHA256_SIZE - 1));
}

static void test_list(CourierFixture *f, gconstpointer data)
{
    static const char *const bad[] = {
        "{\"capabilities\":[{\"number\":7,\"uses\":2,\"created\":3}]}",
        "{\"capabilities\":[{\"number\":7,\"uses\":-2,\"created\":3,\"expires\":4}]}",
        "{\"capabilities\":[7]}",
        "{\"capabilities\":7}",
        "{}",
    };
    g_autoptr(GString) many = g_string_new("{\"capabilities\":[");
    uint64_t number, uses, created, expires;
    sd_bus_message *reply;

    courier_log_in(f);
    fake_relay_set_json(
        f->relay, "GET " PATH, 200,
        "{\"capabilities\":[{\"number\":7,\"uses\":2,\"created\":3,\"expires\":4,\"more\":true}]}");
    reply = courier_call(f, "Capabilities", "s", f->name);
    g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "(tttt)"), >, 0);
    g_assert_cmpint(sd_bus_message_read(reply, "(tttt)", &number, &uses, &created, &expires), >, 0);
    g_assert_cmpuint(number, ==, 7);
    g_assert_cmpuint(uses, ==, 2);
    g_assert_cmpuint(created, ==, 3);
    g_assert_cmpuint(expires, ==, 4);
    g_assert_cmpint(sd_bus_message_at_end(reply, false), >, 0);
    sd_bus_message_unref(reply);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        fake_relay_set_json(f->relay, "GET " PATH, 200, bad[i]);
        courier_fail(f, "Protocol ", "Capabilities", "s", f->name);
    }
    /* as many as there may be, with the largest numbers, and one more */
    for (unsigned i = 0; i <= CAPABILITIES_MAX; i++) {
        if (i == CAPABILITIES_MAX) {
            g_autofree char *text = g_strdup_printf("%s]}", many->str);
            fake_relay_set_json(f->relay, "GET " PATH, 200, text);
            sd_bus_message_unref(courier_call(f, "Capabilities", "s", f->name));
        }
        g_string_append_printf(many,
                               "%s{\"number\":9007199254740991,\"uses\":1000000,\"created\":253402300799,"
                               "\"expires\":253402300799}",
                               i > 0 ? "," : "");
    }
    g_string_append(many, "]}");
    fake_relay_set_json(f->relay, "GET " PATH, 200, many->str);
    courier_fail(f, "Protocol ", "Capabilities", "s", f->name);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test)                                                                                      \
    g_test_add("/courier-capability/" name, CourierFixture, NULL, courier_set_up, test, courier_tear_down)
    ADD("submit", test_submit);
    ADD("change", test_change);
    ADD("list", test_list);
    return g_test_run();
}
