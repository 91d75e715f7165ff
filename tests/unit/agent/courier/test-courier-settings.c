/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the courier does with the settings of a mailbox: it carries them, and makes none. */

#include "libhmsg/wire/limits.h"
#include "tests/unit/agent/courier/courier-fixture.h"

#define PATH "/v1/mailbox/settings"
#define MAC NONCE
#define RULE_SIZE (KID_SIZE + 1u)

static bool set(CourierFixture *f, uint64_t revision, uint64_t lifetime, const uint8_t *senders, size_t n,
                size_t mac)
{
    sd_bus_message *m = NULL, *reply = NULL;
    int r;

    g_assert_cmpint(sd_bus_message_new_method_call(f->bus, &m, NULL, "/org/hmsg/Courier1",
                                                   "org.hmsg.Courier1", "SetSettings"),
                    >=, 0);
    g_assert_cmpint(sd_bus_message_append(m, "stt", f->name, revision, lifetime), >=, 0);
    g_assert_cmpint(sd_bus_message_append_array(m, 'y', senders, n), >=, 0);
    g_assert_cmpint(sd_bus_message_append_array(m, 'y', MAC, mac), >=, 0);
    r = sd_bus_call(f->bus, m, 0, NULL, &reply);
    sd_bus_message_unref(m);
    sd_bus_message_unref(reply);
    return r >= 0;
}

static void test_set(CourierFixture *f, gconstpointer data)
{
    const FakeAnswer done = {.status = 204};
    g_autofree uint8_t *many = g_malloc0((SENDER_RULES_MAX + 1) * RULE_SIZE);
    uint8_t two[2 * RULE_SIZE] = {1};

    two[RULE_SIZE + 1] = 4;                                         /* blocked, and another key */
    g_assert_false(set(f, 7, 3600, two, sizeof(two), SHA256_SIZE)); /* not logged in */
    courier_log_in(f);
    fake_relay_set(f->relay, "PUT " PATH, &done);
    g_assert_true(set(f, 7, 3600, two, sizeof(two), SHA256_SIZE));
    courier_check_sent(
        f, "PUT " PATH,
        "{\"revision\":7,\"lifetime\":3600,\"allowed\":[\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"],"
        "\"blocked\":[\"BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"],\"mac\":" HASH "}");
    g_assert_true(set(f, 8, 0, NULL, 0, SHA256_SIZE));
    courier_check_sent(f, "PUT " PATH,
                       "{\"revision\":8,\"lifetime\":0,\"allowed\":[],\"blocked\":[],\"mac\":" HASH "}");
    g_assert_false(set(f, 0, 0, NULL, 0, SHA256_SIZE));
    g_assert_false(set(f, GENERATION_MAX + 1, 0, NULL, 0, SHA256_SIZE));
    g_assert_false(set(f, 9, MAILBOX_LIFETIME_MIN - 1, NULL, 0, SHA256_SIZE));
    g_assert_false(set(f, 9, MESSAGE_EXPIRY_MAX + 1, NULL, 0, SHA256_SIZE));
    g_assert_false(set(f, 9, 0, NULL, 0, SHA256_SIZE - 1));
    g_assert_false(set(f, 9, 0, two, sizeof(two) - 1, SHA256_SIZE));
    two[0] = 2;
    g_assert_false(set(f, 9, 0, two, sizeof(two), SHA256_SIZE));
    two[0] = 1;
    two[RULE_SIZE + 1] = 0;
    g_assert_false(set(f, 9, 0, two, sizeof(two), SHA256_SIZE)); /* the same key twice */
    for (unsigned i = 0; i <= SENDER_RULES_MAX; i++) {
        many[i * RULE_SIZE + 1] = (uint8_t)(i >> 8);
        many[i * RULE_SIZE + 2] = (uint8_t)i;
    }
    g_assert_true(set(f, 9, 0, many, SENDER_RULES_MAX * RULE_SIZE, SHA256_SIZE));
    g_assert_false(set(f, 9, 0, many, (SENDER_RULES_MAX + 1) * RULE_SIZE, SHA256_SIZE));
}

static void test_get(CourierFixture *f, gconstpointer data)
{
    static const char *const bad[] = {
        "{\"revision\":-1,\"lifetime\":0,\"lifetime_max\":0}",
        "{\"revision\":9007199254740992,\"lifetime\":0,\"lifetime_max\":0}",
        "{\"revision\":1,\"lifetime\":2592001,\"lifetime_max\":0}",
        "{\"revision\":1,\"lifetime\":0,\"lifetime_max\":2592001}",
        "{\"revision\":1,\"lifetime\":0}",
        "{\"revision\":\"1\",\"lifetime\":0,\"lifetime_max\":0}",
        "[]",
    };
    uint64_t revision, lifetime, longest;
    sd_bus_message *reply;

    courier_log_in(f);
    fake_relay_set_json(f->relay, "GET " PATH, 200,
                        "{\"revision\":9,\"lifetime\":3600,\"lifetime_max\":86400,\"more\":1}");
    reply = courier_call(f, "Settings", "s", f->name);
    g_assert_cmpint(sd_bus_message_read(reply, "ttt", &revision, &lifetime, &longest), >, 0);
    sd_bus_message_unref(reply);
    g_assert_cmpuint(revision, ==, 9);
    g_assert_cmpuint(lifetime, ==, 3600);
    g_assert_cmpuint(longest, ==, 86400);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        fake_relay_set_json(f->relay, "GET " PATH, 200, bad[i]);
        courier_fail(f, "Protocol ", "Settings", "s", f->name);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test)                                                                                      \
    g_test_add("/courier-settings/" name, CourierFixture, NULL, courier_set_up, test, courier_tear_down)
    ADD("set", test_set);
    ADD("get", test_get);
    return g_test_run();
}
