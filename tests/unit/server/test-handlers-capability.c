/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/wire/capability.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "server/handler.h"
#include "tests/unit/server/handlers-util.h"

#define PATH "/v1/mailbox/capabilities"
typedef struct Scene {
    TestRelay relay;
    DoubleConnection *alice, *bob; /* alice is a guest */
    Secret *ack;                   /* of bob */
} Scene;

static void set_up(Scene *s, gconstpointer data)
{
    test_relay_set_up(&s->relay, NULL);
    s->relay.options.stranger_rate = 1;
    test_relay_restart(&s->relay);
    g_autoptr(DoubleConnection) c = test_relay_connect(&s->relay);
    g_assert_cmpuint(test_register_person(&s->relay, c, test_person(0), ""), ==, 201);
    g_assert_cmpuint(test_register_person(&s->relay, c, test_person(1), "bob"), ==, 201);
    s->alice = test_login(&s->relay, test_person(0), NULL);
    s->bob = test_login(&s->relay, test_person(1), &s->ack);
}

static void tear_down(Scene *s, gconstpointer data)
{
    g_clear_pointer(&s->alice, double_close);
    g_clear_pointer(&s->bob, double_close);
    s->ack = secret_free(s->ack);
    test_relay_tear_down(&s->relay, NULL);
}

static void make_code(uint8_t first, uint8_t ret[static CAPABILITY_SIZE])
{
    memset(ret, first, CAPABILITY_SIZE);
}

/* The MAC is of as many uses as said, whatever is asked for. */
static json_t *grant(Scene *s, uint8_t first, int64_t uses, int64_t expires, uint64_t mac_uses)
{
    CapabilityGrant g = {.uses = mac_uses, .expires = expires};
    uint8_t code[CAPABILITY_SIZE], mac[SHA256_SIZE];
    json_t *j = json_object();
    make_code(first, code);
    g_assert_cmpint(capability_hash(code, g.hash), ==, 0);
    g_assert_cmpint(capability_grant_mac(s->ack, relay_key_pin(s->relay.key), &g, mac), ==, 0);
    g_assert_cmpint(json_put_bytes(j, "hash", g.hash, sizeof(g.hash)), ==, 0);
    g_assert_cmpint(json_put_number(j, "uses", uses), ==, 0);
    g_assert_cmpint(json_put_number(j, "expires", expires), ==, 0);
    g_assert_cmpint(json_put_bytes(j, "mac", mac, sizeof(mac)), ==, 0);
    return j;
}

static json_t *revocation(Scene *s, int64_t number, int64_t mac_number)
{
    uint8_t mac[SHA256_SIZE];
    json_t *j = json_object();
    g_assert_cmpint(capability_revoke_mac(s->ack, relay_key_pin(s->relay.key), (uint64_t)mac_number, mac), ==,
                    0);
    g_assert_cmpint(json_put_number(j, "number", number), ==, 0);
    g_assert_cmpint(json_put_bytes(j, "mac", mac, sizeof(mac)), ==, 0);
    return j;
}

/* From alice to bob; capability NULL: none. */
static DoubleAnswer *submit(Scene *s, const char *body, const char *capability)
{
    const TestPerson *bob = test_person(1);
    uint8_t id[ID_SIZE];
    char text[HASH_TEXT_SIZE];
    g_assert_cmpint(message_id(rsa_key_thumbprint(bob->decrypt), body, strlen(body), id), ==, 0);
    base64url_encode(id, ID_SIZE, text);
    g_autofree char *target = g_strdup_printf("/v1/mailboxes/%s/messages/%s", bob->kid, text);
    g_autofree char *header = capability ? g_strdup_printf("hmsg-capability: %s", capability) : NULL;
    const char *headers[] = {"content-type: application/octet-stream", header, NULL};
    return double_call(
        s->alice,
        &(DoubleCall){
            .method = "PUT", .target = target, .headers = headers, .body = body, .size = strlen(body)});
}

static json_int_t number_of(const json_t *j, const char *name)
{
    return json_integer_value(json_object_get(j, name));
}

static void test_use(Scene *s, gconstpointer data)
{
    const int64_t later = clock_realtime() + 1000;
    uint8_t code[CAPABILITY_SIZE];
    char text[HASH_TEXT_SIZE];
    json_int_t number = 0;
    make_code(7, code);
    base64url_encode(code, sizeof(code), text);
    EXPECT(201, submit(s, "1", NULL));
    EXPECT(429, submit(s, "2", NULL));
    EXPECT(429, submit(s, "2", text));
    EXPECT(400, submit(s, "2", "short"));
    {
        g_autoptr(DoubleAnswer) a = double_json(s->bob, "POST", PATH, grant(s, 7, 2, later, 2));
        g_assert_cmpuint(a->status, ==, 201);
        number = number_of(a->json, "number");
    }
    EXPECT(200, double_json(s->bob, "POST", PATH, grant(s, 7, 2, later, 2)));
    EXPECT(201, submit(s, "2", text));
    EXPECT(200, submit(s, "2", text));
    {
        g_autoptr(DoubleAnswer) a = double_json(s->bob, "GET", PATH, NULL);
        g_assert_cmpuint(a->status, ==, 200);
        const json_t *list = json_object_get(a->json, "capabilities");
        g_assert_cmpuint(json_array_size(list), ==, 1);
        const json_t *one = json_array_get(list, 0);
        g_assert_cmpint(number_of(one, "number"), ==, number);
        g_assert_cmpint(number_of(one, "uses"), ==, 1);
        g_assert_cmpint(number_of(one, "expires"), ==, later);
    }
    EXPECT(403, double_json(s->bob, "POST", PATH "/revocations", revocation(s, number, number + 1)));
    EXPECT(201, submit(s, "3", text));
    EXPECT(429, submit(s, "4", text)); /* used up */
    EXPECT(201, double_json(s->bob, "POST", PATH, grant(s, 8, 2, later, 2)));
    make_code(8, code);
    base64url_encode(code, sizeof(code), text);
    EXPECT(201, submit(s, "4", text));
    g_autoptr(DoubleAnswer) a = double_json(s->bob, "GET", PATH, NULL);
    number = number_of(json_array_get(json_object_get(a->json, "capabilities"), 1), "number");
    EXPECT(204, double_json(s->bob, "POST", PATH "/revocations", revocation(s, number, number)));
    EXPECT(204, double_json(s->bob, "POST", PATH "/revocations", revocation(s, number, number))); /* again */
    EXPECT(404, double_json(s->bob, "POST", PATH "/revocations", revocation(s, 9999, 9999)));
    EXPECT(429, submit(s, "5", text));
}

/* One capability does not let its holders send as often as they like. */
static void test_rate(Scene *s, gconstpointer data)
{
    const int64_t later = clock_realtime() + 1000;
    uint8_t code[CAPABILITY_SIZE];
    char text[HASH_TEXT_SIZE];
    tear_down(s, NULL);
    test_relay_set_up(&s->relay, NULL);
    s->relay.options.sender_rate = 2;
    test_relay_restart(&s->relay);
    g_autoptr(DoubleConnection) c = test_relay_connect(&s->relay);
    g_assert_cmpuint(test_register_person(&s->relay, c, test_person(0), ""), ==, 201);
    g_assert_cmpuint(test_register_person(&s->relay, c, test_person(2), ""), ==, 201);
    g_assert_cmpuint(test_register_person(&s->relay, c, test_person(1), "bob"), ==, 201);
    s->alice = test_login(&s->relay, test_person(0), NULL);
    s->bob = test_login(&s->relay, test_person(1), &s->ack);
    EXPECT(201, double_json(s->bob, "POST", PATH, grant(s, 7, 100, later, 100)));
    make_code(7, code);
    base64url_encode(code, sizeof(code), text);
    EXPECT(201, submit(s, "1", text));
    EXPECT(201, submit(s, "2", text));
    g_clear_pointer(&s->alice, double_close);
    s->alice = test_login(&s->relay, test_person(2), NULL);
    EXPECT(429, submit(s, "3", text));
    EXPECT(201, submit(s, "3", NULL));
}

static void test_refused(Scene *s, gconstpointer data)
{
    const int64_t now = clock_realtime();
    EXPECT(403, double_json(s->bob, "POST", PATH, grant(s, 7, 3, now + 1000, 2)));
    EXPECT(400, double_json(s->bob, "POST", PATH, grant(s, 7, 0, now + 1000, 0)));
    EXPECT(400, double_json(s->bob, "POST", PATH,
                            grant(s, 7, CAPABILITY_USES_MAX + 1, now + 1000, CAPABILITY_USES_MAX + 1)));
    EXPECT(400, double_json(s->bob, "POST", PATH, grant(s, 7, 1, now - 1, 1)));
    EXPECT(400,
           double_json(s->bob, "POST", PATH, grant(s, 7, 1, now + 2 * (int64_t)CAPABILITY_LIFETIME_MAX, 1)));
    EXPECT(404, double_json(s->alice, "POST", PATH, grant(s, 7, 1, now + 1000, 1)));
    EXPECT(404, double_json(s->alice, "GET", PATH, NULL));
    EXPECT(404, double_json(s->alice, "POST", PATH "/revocations", revocation(s, 1, 1)));
    EXPECT(400, double_json(s->bob, "POST", PATH "/revocations", revocation(s, 0, 0)));
    EXPECT(400, double_json(s->bob, "POST", PATH "/revocations", json_pack("{s:i}", "number", 1)));
    EXPECT(404, double_json(s->bob, "POST", PATH "/revocations", revocation(s, 1, 1)));
    g_autoptr(DoubleConnection) c = test_relay_connect(&s->relay);
    EXPECT(401, double_json(c, "GET", PATH, NULL));
    EXPECT(401, double_json(c, "POST", PATH, grant(s, 7, 1, now + 1000, 1)));
    g_autoptr(DoubleAnswer) a = double_json(s->bob, "GET", PATH, NULL);
    g_assert_cmpuint(json_array_size(json_object_get(a->json, "capabilities")), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, t) g_test_add("/handlers-capability/" name, Scene, NULL, set_up, t, tear_down)
    ADD("use", test_use);
    ADD("rate", test_rate);
    ADD("refused", test_refused);
    return g_test_run();
}
