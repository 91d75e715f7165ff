/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/wire/mailbox-settings.h"
#include "libhmsg/wire/proof.h"
#include "server/handler.h"
#include "tests/unit/server/handlers-util.h"

#define PATH "/v1/mailbox/settings"
typedef struct Scene {
    TestRelay relay;
    DoubleConnection *alice, *bob, *carol; /* alice is a guest */
    Secret *ack;                           /* of bob */
} Scene;

static void set_up(Scene *s, gconstpointer data)
{
    test_relay_set_up(&s->relay, NULL);
    s->relay.options.stranger_rate = 1;
    test_relay_restart(&s->relay);
    g_autoptr(DoubleConnection) c = test_relay_connect(&s->relay);
    g_assert_cmpuint(test_register_person(&s->relay, c, test_person(0), ""), ==, 201);
    g_assert_cmpuint(test_register_person(&s->relay, c, test_person(1), "bob"), ==, 201);
    g_assert_cmpuint(test_register_person(&s->relay, c, test_person(2), "carol"), ==, 201);
    s->alice = test_login(&s->relay, test_person(0), NULL);
    s->bob = test_login(&s->relay, test_person(1), &s->ack);
    s->carol = test_login(&s->relay, test_person(2), NULL);
}

static void tear_down(Scene *s, gconstpointer data)
{
    g_clear_pointer(&s->alice, double_close);
    g_clear_pointer(&s->bob, double_close);
    g_clear_pointer(&s->carol, double_close);
    s->ack = secret_free(s->ack);
    test_relay_tear_down(&s->relay, NULL);
}

/* Of bob's, with a rule for one person, if it is not NULL. */
static json_t *settings(Scene *s, uint64_t revision, uint64_t lifetime, const TestPerson *sender,
                        bool allowed)
{
    SenderRule rule = {.allowed = allowed};
    const MailboxSettings all = {revision, lifetime, &rule, sender != NULL};
    uint8_t mac[SHA256_SIZE];
    json_t *j = json_object();
    if (sender)
        memcpy(rule.skid, rsa_key_thumbprint(sender->sign), KID_SIZE);
    g_assert_cmpint(mailbox_settings_mac(s->ack, relay_key_pin(s->relay.key), &all, mac), ==, 0);
    g_assert_cmpint(mailbox_settings_put(&all, j), ==, 0);
    g_assert_cmpint(json_put_bytes(j, "mac", mac, sizeof(mac)), ==, 0);
    return j;
}

/* To bob. */
static DoubleAnswer *submit(DoubleConnection *from, const char *body, size_t n)
{
    const TestPerson *bob = test_person(1);
    uint8_t id[ID_SIZE];
    char text[HASH_TEXT_SIZE];
    g_assert_cmpint(message_id(rsa_key_thumbprint(bob->decrypt), body, n, id), ==, 0);
    base64url_encode(id, ID_SIZE, text);
    g_autofree char *target = g_strdup_printf("/v1/mailboxes/%s/messages/%s", bob->kid, text);
    const char *headers[] = {"content-type: application/octet-stream", NULL};
    return double_call(
        from, &(DoubleCall){.method = "PUT", .target = target, .headers = headers, .body = body, .size = n});
}

static void expect_problem(DoubleAnswer *answer, unsigned status, const char *type)
{
    g_autoptr(DoubleAnswer) a = answer;
    g_assert_cmpuint(a->status, ==, status);
    g_assert_cmpstr(test_text(a->json, "type"), ==, type);
}

static void test_block(Scene *s, gconstpointer data)
{
    static const char refuses[] = "urn:hmsg:problem:recipient-refuses";
    g_autofree char *large = g_malloc0(MESSAGE_SIZE_MAX + 1);
    EXPECT(201, submit(s->carol, "1", 1));
    EXPECT(204, double_json(s->bob, "PUT", PATH, settings(s, 1, 0, test_person(2), false)));
    EXPECT(204, double_json(s->bob, "PUT", PATH, settings(s, 1, 0, test_person(2), false)));
    expect_problem(submit(s->carol, "2", 1), 403, refuses);
    expect_problem(submit(s->carol, large, MESSAGE_SIZE_MAX + 1), 403, refuses);
    EXPECT(200, submit(s->carol, "1", 1)); /* taken before */
    EXPECT(204, double_json(s->bob, "PUT", PATH, settings(s, 2, 0, NULL, false)));
    EXPECT(201, submit(s->carol, large, MESSAGE_SIZE_MAX + 1));
    EXPECT(204, double_json(s->bob, "PUT", PATH, settings(s, 3, 0, test_person(2), false)));
    EXPECT(200, submit(s->carol, large, MESSAGE_SIZE_MAX + 1));
    EXPECT(204, double_json(s->bob, "PUT", PATH, settings(s, 4, 0, test_person(0), false)));
    expect_problem(submit(s->alice, "3", 1), 403, refuses);
}

/* A guest who is allowed is not counted with the others. */
static void test_allow(Scene *s, gconstpointer data)
{
    EXPECT(201, submit(s->alice, "1", 1));
    EXPECT(429, submit(s->alice, "2", 1));
    EXPECT(204, double_json(s->bob, "PUT", PATH, settings(s, 1, 0, test_person(0), true)));
    EXPECT(201, submit(s->alice, "2", 1));
    EXPECT(201, submit(s->alice, "3", 1));
    EXPECT(204, double_json(s->bob, "PUT", PATH, settings(s, 2, 0, NULL, false)));
    EXPECT(429, submit(s->alice, "4", 1));
}

static int64_t number_of(const json_t *j, const char *name)
{
    return json_integer_value(json_object_get(j, name));
}

static void expect_settings(Scene *s, int64_t revision, int64_t lifetime)
{
    g_autoptr(DoubleAnswer) a = double_json(s->bob, "GET", PATH, NULL);
    g_assert_cmpuint(a->status, ==, 200);
    g_assert_cmpint(number_of(a->json, "revision"), ==, revision);
    g_assert_cmpint(number_of(a->json, "lifetime"), ==, lifetime);
    g_assert_cmpint(number_of(a->json, "lifetime_max"), ==, (int64_t)s->relay.options.message_lifetime);
}

static void test_lifetime(Scene *s, gconstpointer data)
{
    const int64_t before = clock_realtime();
    expect_settings(s, 0, 0);
    EXPECT(204, double_json(s->bob, "PUT", PATH, settings(s, 5, 7200, NULL, false)));
    expect_settings(s, 5, 7200);
    EXPECT(201, submit(s->carol, "1", 1));
    g_autoptr(DoubleAnswer) a = double_json(s->bob, "GET", "/v1/mailbox/messages", NULL);
    const json_t *one = json_array_get(json_object_get(a->json, "messages"), 0);
    g_assert_cmpint(number_of(one, "expires"), >=, before + 7200);
    g_assert_cmpint(number_of(one, "expires"), <=, clock_realtime() + 7200);
}

static void test_refused(Scene *s, gconstpointer data)
{
    EXPECT(204, double_json(s->bob, "PUT", PATH, settings(s, 5, 0, test_person(2), false)));
    EXPECT(409, double_json(s->bob, "PUT", PATH, settings(s, 5, 0, NULL, false)));
    EXPECT(409, double_json(s->bob, "PUT", PATH, settings(s, 4, 0, NULL, false)));
    EXPECT(400, double_json(s->bob, "PUT", PATH, settings(s, 6, MAILBOX_LIFETIME_MIN - 1, NULL, false)));
    EXPECT(400, double_json(s->bob, "PUT", PATH, settings(s, 6, MESSAGE_EXPIRY_MAX + 1, NULL, false)));
    json_t *other = settings(s, 6, 0, NULL, false);
    g_assert_cmpint(json_object_set_new(other, "lifetime", json_integer(3600)), ==, 0);
    EXPECT(403, double_json(s->bob, "PUT", PATH, other));
    json_t *unsigned_one = settings(s, 6, 0, NULL, false);
    g_assert_cmpint(json_object_del(unsigned_one, "mac"), ==, 0);
    EXPECT(400, double_json(s->bob, "PUT", PATH, unsigned_one));
    EXPECT(404, double_json(s->alice, "PUT", PATH, settings(s, 6, 0, NULL, false)));
    EXPECT(404, double_json(s->alice, "GET", PATH, NULL));
    EXPECT(403, double_json(s->carol, "PUT", PATH, settings(s, 6, 0, NULL, false))); /* bob's MAC */
    g_autoptr(DoubleConnection) c = test_relay_connect(&s->relay);
    EXPECT(401, double_json(c, "GET", PATH, NULL));
    EXPECT(401, double_json(c, "PUT", PATH, settings(s, 6, 0, NULL, false)));
    expect_settings(s, 5, 0);
    EXPECT(403, submit(s->carol, "1", 1));
}

/* Not as often as somebody likes, whether it changes anything or not; a wrong one costs nothing. */
static void test_rate(Scene *s, gconstpointer data)
{
    unsigned status = 204, n = 0;
    for (; status == 204 && n < 1000; n++) {
        g_autoptr(DoubleAnswer) a = double_json(s->bob, "PUT", PATH, settings(s, n + 1, 0, NULL, false));
        status = a->status;
    }
    g_assert_cmpuint(status, ==, 429);
    g_assert_cmpuint(n, >, 30);
    EXPECT(200, double_json(s->bob, "GET", PATH, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, t) g_test_add("/handlers-settings/" name, Scene, NULL, set_up, t, tear_down)
    ADD("block", test_block);
    ADD("allow", test_allow);
    ADD("lifetime", test_lifetime);
    ADD("refused", test_refused);
    ADD("rate", test_rate);
    return g_test_run();
}
