/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/handlers.h"

#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "server/handler.h"
#include "tests/unit/server/handlers-util.h"
#include "tests/unit/server/store-util.h"

#define ATTACHMENT_SIZE 200000u

typedef struct Scene {
    TestRelay relay;
    const TestPerson *alice, *bob; /* alice is a guest */
    DoubleConnection *in_alice, *in_bob;
    Secret *ack; /* of bob */
} Scene;

static void log_in(Scene *s)
{
    s->in_alice = test_login(&s->relay, s->alice, NULL);
    s->in_bob = test_login(&s->relay, s->bob, &s->ack);
}

static void log_out(Scene *s)
{
    g_clear_pointer(&s->in_alice, double_close);
    g_clear_pointer(&s->in_bob, double_close);
    s->ack = secret_free(s->ack);
}

static void set_up(Scene *s, gconstpointer data)
{
    test_relay_set_up(&s->relay, NULL);
    s->alice = test_person(0);
    s->bob = test_person(1);
    g_autoptr(DoubleConnection) c = test_relay_connect(&s->relay);
    g_assert_cmpuint(test_register_person(&s->relay, c, s->alice, ""), ==, 201);
    g_assert_cmpuint(test_register_person(&s->relay, c, s->bob, "bob"), ==, 201);
    log_in(s);
}

static void tear_down(Scene *s, gconstpointer data)
{
    log_out(s);
    test_relay_tear_down(&s->relay, NULL);
}

static void restart(Scene *s)
{
    log_out(s);
    test_relay_restart(&s->relay);
    log_in(s);
}

static void id_of(const Scene *s, const void *body, size_t n, uint8_t id[static ID_SIZE], char *text)
{
    g_assert_cmpint(message_id(rsa_key_thumbprint(s->bob->decrypt), body, n, id), ==, 0);
    base64url_encode(id, ID_SIZE, text);
}

static DoubleAnswer *submit(Scene *s, const void *body, size_t n, const char *expires, size_t piece)
{
    uint8_t id[ID_SIZE];
    char text[HASH_TEXT_SIZE];
    id_of(s, body, n, id, text);
    g_autofree char *target = g_strdup_printf("/v1/mailboxes/%s/messages/%s", s->bob->kid, text);
    const char *headers[] = {"content-type: application/octet-stream", expires, NULL};
    return double_call(s->in_alice, &(DoubleCall){.method = "PUT",
                                                  .target = target,
                                                  .headers = headers,
                                                  .body = body,
                                                  .size = n,
                                                  .piece = piece,
                                                  .untold = piece > 0});
}

static Receipt receipt_of(Scene *s, const DoubleAnswer *a)
{
    _cleanup_(ec_key_freep) EcKey *online = test_online(&s->relay, a->json);
    const char *text = test_text(a->json, "receipt");
    Receipt r = {};
    g_assert_cmpint(
        receipt_parse(text, strlen(text), online, relay_key_pin(s->relay.key), clock_realtime(), &r), ==, 0);
    return r;
}

static DoubleAnswer *fetch(Scene *s, const void *body, size_t n)
{
    uint8_t id[ID_SIZE];
    char text[HASH_TEXT_SIZE];
    id_of(s, body, n, id, text);
    g_autofree char *target = g_strdup_printf("/v1/mailbox/messages/%s", text);
    return double_json(s->in_bob, "GET", target, NULL);
}

static void expect_state(Scene *s, const void *body, size_t n, const char *state)
{
    uint8_t id[ID_SIZE];
    char text[HASH_TEXT_SIZE];
    id_of(s, body, n, id, text);
    g_autofree char *target = g_strdup_printf("/v1/submissions/%s", text);
    g_autoptr(DoubleAnswer) a = double_json(s->in_alice, "GET", target, NULL);
    g_assert_cmpuint(a->status, ==, 200);
    g_assert_cmpstr(test_text(a->json, "state"), ==, state);
    EXPECT(404, double_json(s->in_bob, "GET", target, NULL)); /* he did not submit it */
}

static json_t *acknowledgement(Scene *s, const void *body, size_t n, bool wrong)
{
    uint8_t id[ID_SIZE], mac[SHA256_SIZE];
    char text[HASH_TEXT_SIZE];
    json_t *j = json_object();
    id_of(s, body, n, id, text);
    g_assert_cmpint(ack_mac(s->ack, relay_key_pin(s->relay.key), id, 1, mac), ==, 0);
    mac[0] ^= wrong ? 1 : 0;
    g_assert_cmpint(json_put(j, "ids", json_pack("[s]", text)), ==, 0);
    g_assert_cmpint(json_put_bytes(j, "mac", mac, sizeof(mac)), ==, 0);
    return j;
}

static DoubleAnswer *acknowledge(Scene *s, const void *body, size_t n, bool wrong)
{
    return double_json(s->in_bob, "POST", "/v1/mailbox/acknowledgements", acknowledgement(s, body, n, wrong));
}

static void check_delivery(Scene *s, const void *body, size_t n, size_t piece)
{
    uint8_t hash[SHA256_SIZE];
    Receipt first, again;
    {
        g_autoptr(DoubleAnswer) a = submit(s, body, n, NULL, piece);
        g_assert_cmpuint(a->status, ==, 201);
        first = receipt_of(s, a);
    }
    g_assert_cmpint(crypto_sha256(body, n, hash), ==, 0);
    g_assert_cmpmem(first.body_sha256, SHA256_SIZE, hash, SHA256_SIZE);
    g_assert_cmpmem(first.recipient, KID_SIZE, rsa_key_thumbprint(s->bob->decrypt), KID_SIZE);
    g_assert_cmpmem(first.submitter, KID_SIZE, rsa_key_thumbprint(s->alice->sign), KID_SIZE);
    {
        g_autoptr(DoubleAnswer) a = submit(s, body, n, NULL, piece);
        g_assert_cmpuint(a->status, ==, 200);
        again = receipt_of(s, a);
    }
    g_assert_cmpmem(&first, sizeof(first), &again, sizeof(again));
    restart(s);
    expect_state(s, body, n, "accepted");
    {
        g_autoptr(DoubleAnswer) a = fetch(s, body, n);
        g_assert_cmpuint(a->status, ==, 200);
        g_assert_cmpstr(a->type, ==, "application/octet-stream");
        g_assert_cmpmem(a->body->data, a->body->len, body, n);
    }
    EXPECT(403, acknowledge(s, body, n, true));
    EXPECT(200, fetch(s, body, n));
    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(DoubleAnswer) a = acknowledge(s, body, n, false);
        g_assert_cmpuint(a->status, ==, 200);
        g_assert_cmpuint(json_array_size(json_object_get(a->json, "acknowledged")), ==, 1);
    }
    EXPECT(404, fetch(s, body, n));
    expect_state(s, body, n, "delivered");
    EXPECT(200, submit(s, body, n, NULL, piece));
    EXPECT(404, fetch(s, body, n));
    /* since the restart; what comes again is not counted again */
    EXPECT(201, submit(s, test_body(99, n), n, NULL, piece));
    const HandlersTotals t = handlers_totals(s->relay.handlers);
    g_assert_cmpuint(t.accepted, ==, 1);
    g_assert_cmpuint(t.accepted_bytes, ==, n);
    g_assert_cmpuint(t.delivered, ==, 1);
    g_assert_cmpuint(t.expired, ==, 0);
    EXPECT(200, acknowledge(s, test_body(99, n), n, false));
}

static void test_delivery(Scene *s, gconstpointer data)
{
    check_delivery(s, "hello", 5, 0);
    check_delivery(s, "hello again", 11, 3);
    check_delivery(s, test_body(1, MESSAGE_SIZE_MAX), MESSAGE_SIZE_MAX, 1000);
    check_delivery(s, test_body(2, MESSAGE_SIZE_MAX + 1), MESSAGE_SIZE_MAX + 1, 1000);
    check_delivery(s, test_body(3, ATTACHMENT_SIZE), ATTACHMENT_SIZE, 0);
    g_assert_cmpuint(test_count_files(s->relay.folder, "blobs"), ==, 0);
}

/* A receipt says what the relay has waited for. */
static void test_durability(Scene *s, gconstpointer data)
{
    const struct {
        OptionStore store;
        bool quorum;
        Durability expected;
    } cases[] = {
        {STORE_SQLITE, false, DURABILITY_DISK},
        {STORE_SQLITE, true, DURABILITY_DISK},
        {STORE_POSTGRES, false, DURABILITY_DISK},
        {STORE_POSTGRES, true, DURABILITY_QUORUM},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        s->relay.options.store = cases[i].store;
        s->relay.options.postgres.quorum = cases[i].quorum;
        g_autoptr(DoubleAnswer) a = submit(s, test_body(i, 50), 50, NULL, 0);
        g_assert_cmpuint(a->status, ==, 201);
        g_assert_cmpint(receipt_of(s, a).durability, ==, cases[i].expected);
    }
    s->relay.options.store = STORE_SQLITE;
}

static void block(Scene *s, const TestPerson *who, bool blocked)
{
    StoreWrite w = {.kind = STORE_BLOCK, .block.blocked = blocked};
    memcpy(w.block.skid, rsa_key_thumbprint(who->sign), KID_SIZE);
    g_assert_cmpint(test_write(s->relay.handlers->store, &w), ==, 0);
}

/* Neither to nor from; what has come before can be fetched. */
static void test_blocked(Scene *s, gconstpointer data)
{
    EXPECT(201, submit(s, "before", 6, NULL, 0));
    for (unsigned i = 0; i < 2; i++) {
        const TestPerson *who = i == 0 ? s->alice : s->bob;
        block(s, who, true);
        g_autoptr(DoubleAnswer) a = submit(s, "hello", 5, NULL, 0);
        g_assert_cmpuint(a->status, ==, 403);
        g_assert_cmpstr(test_text(a->json, "type"), ==, "urn:hmsg:problem:blocked");
        EXPECT(200, fetch(s, "before", 6));
        block(s, who, false);
    }
    EXPECT(201, submit(s, "hello", 5, NULL, 0));
}

static void test_list(Scene *s, gconstpointer data)
{
    for (unsigned i = 0; i < 3; i++)
        EXPECT(201, submit(s, test_body(i, 10 + i), 10 + i, NULL, 0));
    g_autoptr(DoubleAnswer) a = double_json(s->in_bob, "GET", "/v1/mailbox/messages", NULL);
    g_assert_cmpuint(a->status, ==, 200);
    json_t *list = json_object_get(a->json, "messages");
    g_assert_cmpuint(json_array_size(list), ==, 3);
    g_assert_true(json_is_false(json_object_get(a->json, "more")));
    int64_t last = 0;
    for (size_t i = 0; i < 3; i++) {
        const json_t *m = json_array_get(list, i);
        int64_t seq = 0, size = 0, expires = 0;
        g_assert_cmpint(json_get_number(m, "seq", last + 1, INT64_MAX, &seq), ==, 0);
        g_assert_cmpint(json_get_number(m, "size", 10 + (int64_t)i, 10 + (int64_t)i, &size), ==, 0);
        g_assert_cmpint(json_get_number(m, "expires", clock_realtime(), TIME_MAX, &expires), ==, 0);
        g_assert_cmpstr(test_text(m, "submitter"), ==, s->alice->skid);
        last = seq;
    }
    g_autofree char *target = g_strdup_printf("/v1/mailbox/messages?after=%lld", (long long)last - 1);
    g_autoptr(DoubleAnswer) rest = double_json(s->in_bob, "GET", target, NULL);
    g_assert_cmpuint(json_array_size(json_object_get(rest->json, "messages")), ==, 1);
    EXPECT(400, double_json(s->in_bob, "GET", "/v1/mailbox/messages?after=x", NULL));
    EXPECT(400, double_json(s->in_bob, "GET", "/v1/mailbox/messages?after=-1", NULL));
    EXPECT(404, double_json(s->in_alice, "GET", "/v1/mailbox/messages", NULL));
}

static DoubleAnswer *put_to(DoubleConnection *c, const char *kid, const char *id, const char *type,
                            const char *expires, size_t n)
{
    g_autofree char *target = g_strdup_printf("/v1/mailboxes/%s/messages/%s", kid, id);
    const char *headers[] = {type, expires, NULL};
    return double_call(c, &(DoubleCall){.method = "PUT",
                                        .target = target,
                                        .headers = type ? headers : NULL,
                                        .body = test_body(4, n),
                                        .size = n});
}

static void test_bad_submission(Scene *s, gconstpointer data)
{
    static const char octets[] = "content-type: application/octet-stream";
    g_autoptr(DoubleConnection) stranger = test_relay_connect(&s->relay);
    uint8_t id[ID_SIZE];
    char right[HASH_TEXT_SIZE], wrong[HASH_TEXT_SIZE];
    id_of(s, test_body(4, 100), 100, id, right);
    id_of(s, test_body(4, 100), 99, id, wrong);
    const char *bob = s->bob->kid;
    EXPECT(401, put_to(stranger, bob, right, octets, NULL, 100));
    EXPECT(400, put_to(s->in_alice, bob, wrong, octets, NULL, 100));
    EXPECT(400, put_to(s->in_alice, bob, "AAAA", octets, NULL, 100));
    EXPECT(400, put_to(s->in_alice, "AAAA", right, octets, NULL, 100));
    for (unsigned i = 0; i < 2; i++) { /* a guest's, nobody's */
        const RsaKey *to = i == 0 ? s->alice->decrypt : s->bob->sign;
        char to_text[HASH_TEXT_SIZE], there[HASH_TEXT_SIZE];
        g_assert_cmpint(message_id(rsa_key_thumbprint(to), test_body(4, 100), 100, id), ==, 0);
        base64url_encode(id, ID_SIZE, there);
        base64url_encode(rsa_key_thumbprint(to), KID_SIZE, to_text);
        EXPECT(404, put_to(s->in_alice, to_text, there, octets, NULL, 100));
        EXPECT(400, put_to(s->in_alice, to_text, right, octets, NULL, 100));
    }
    EXPECT(415, put_to(s->in_alice, bob, right, NULL, NULL, 100));
    EXPECT(415, put_to(s->in_alice, bob, right, "content-type: text/plain", NULL, 100));
    EXPECT(400, put_to(s->in_alice, bob, right, octets, "hmsg-expires: soon", 100));
    EXPECT(400, put_to(s->in_alice, bob, right, octets, "hmsg-expires: 1", 100));
    EXPECT(400, put_to(s->in_alice, bob, right, octets, "hmsg-expires: 99999999999999999999", 100));
    g_autofree char *large = g_malloc0((1 << 20) + 1);
    EXPECT(413, submit(s, large, (1 << 20) + 1, NULL, 0));
    EXPECT(413, submit(s, large, (1 << 20) + 1, NULL, 65536));
    EXPECT(400, submit(s, "", 0, NULL, 0));
    g_assert_cmpuint(test_count_files(s->relay.folder, "blobs"), ==, 0);
    g_autoptr(DoubleAnswer) a = double_json(s->in_bob, "GET", "/v1/mailbox/messages", NULL);
    g_assert_cmpuint(json_array_size(json_object_get(a->json, "messages")), ==, 0);
    EXPECT(201, put_to(s->in_alice, bob, right, octets, "hmsg-expires: 99999999999", 100));
}

/* One user has so many large bodies under way, in and out; little ones go on. */
static void test_transfers(Scene *s, gconstpointer data)
{
    const TestPerson *both[] = {s->alice, s->bob};
    Transfer *held[G_N_ELEMENTS(both)][TRANSFERS_MAX];
    const size_t large = 100000;
    EXPECT(201, submit(s, test_body(1, large), large, NULL, 0));
    for (size_t p = 0; p < G_N_ELEMENTS(both); p++)
        for (size_t i = 0; i < TRANSFERS_MAX; i++)
            g_assert_cmpint(transfer_begin(s->relay.handlers->transfers, rsa_key_thumbprint(both[p]->sign),
                                           false, &held[p][i]),
                            ==, 0);
    EXPECT(429, submit(s, test_body(2, large), large, NULL, 0));
    EXPECT(429, submit(s, test_body(2, large), large, NULL, 8192));
    EXPECT(429, fetch(s, test_body(1, large), large));
    EXPECT(201, submit(s, "little", 6, NULL, 0));
    EXPECT(200, fetch(s, "little", 6));
    for (size_t p = 0; p < G_N_ELEMENTS(both); p++)
        held[p][0] = transfer_end(held[p][0]);
    for (unsigned i = 0; i < 3; i++) { /* each ends with its request */
        EXPECT(201, submit(s, test_body(2 + i, large), large, NULL, i == 1 ? 8192 : 0));
        EXPECT(200, fetch(s, test_body(1, large), large));
    }
    for (size_t p = 0; p < G_N_ELEMENTS(both); p++)
        for (size_t i = 1; i < TRANSFERS_MAX; i++)
            held[p][i] = transfer_end(held[p][i]);
}

static void test_bad_acknowledgement(Scene *s, gconstpointer data)
{
    static const char path[] = "/v1/mailbox/acknowledgements";
    EXPECT(201, submit(s, "hello", 5, NULL, 0));
    EXPECT(400, double_json(s->in_bob, "POST", path, json_object()));
    EXPECT(400, double_json(s->in_bob, "POST", path, json_pack("{s:[s],s:s}", "ids", "AAAA", "mac", "AAAA")));
    EXPECT(400, double_json(s->in_bob, "POST", path, json_pack("{s:[],s:s}", "ids", "mac", "AAAA")));
    EXPECT(400, double_json(s->in_bob, "POST", path, json_pack("{s:[i],s:s}", "ids", 7, "mac", "AAAA")));
    json_t *many = json_array();
    for (unsigned i = 0; i <= ACKNOWLEDGE_IDS_MAX; i++)
        json_array_append_new(many, json_string("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    EXPECT(400, double_json(s->in_bob, "POST", path, json_pack("{s:o,s:s}", "ids", many, "mac", "AAAA")));
    EXPECT(404, double_json(s->in_alice, "POST", path, acknowledgement(s, "hello", 5, false)));
    /* The key is that of one login. */
    json_t *old = acknowledgement(s, "hello", 5, false);
    restart(s);
    EXPECT(403, double_json(s->in_bob, "POST", path, old));
    EXPECT(200, fetch(s, "hello", 5));
}

/* Strangers have a budget of their own, which leaves members theirs. */
static void test_stranger_rate(Scene *s, gconstpointer data)
{
    s->relay.options.stranger_rate = 2;
    restart(s);
    EXPECT(201, submit(s, "1", 1, NULL, 0));
    EXPECT(201, submit(s, "2", 1, NULL, 0));
    g_autoptr(DoubleAnswer) a = submit(s, "3", 1, NULL, 0);
    g_assert_cmpuint(a->status, ==, 429);
    g_assert_cmpuint(a->retry, >=, 1);
    DoubleConnection *guest = s->in_alice;
    s->in_alice = s->in_bob;
    EXPECT(201, submit(s, "3", 1, NULL, 0));
    s->in_alice = guest;
}

static void test_full(Scene *s, gconstpointer data)
{
    s->relay.options.mailbox_messages = 4;
    s->relay.options.mailbox_size = 300000;
    restart(s);
    EXPECT(201, submit(s, "1", 1, NULL, 0));
    EXPECT(201, submit(s, "2", 1, NULL, 0));
    g_autoptr(DoubleAnswer) a = submit(s, "3", 1, NULL, 0); /* guests: half of it */
    g_assert_cmpuint(a->status, ==, 429);
    g_assert_cmpuint(a->retry, >, 0);
    g_autoptr(DoubleAnswer) b = submit(s, test_body(9, 300000), 300000, NULL, 0);
    g_assert_cmpuint(b->status, ==, 507);
    g_assert_cmpuint(b->retry, >, 0);
    EXPECT(200, submit(s, "2", 1, NULL, 0));
    EXPECT(200, acknowledge(s, "1", 1, false));
    EXPECT(201, submit(s, "3", 1, NULL, 0));
    s->relay.options.sender_rate = 2;
    restart(s);
    EXPECT(200, submit(s, "3", 1, NULL, 0));
    EXPECT(200, submit(s, "3", 1, NULL, 0));
    EXPECT(429, submit(s, "3", 1, NULL, 0));
}

static void expect_event(DoubleEvents *e, const char *name, const char *part)
{
    g_autofree char *event = double_events_take(e);
    g_assert_nonnull(event);
    g_assert_true(g_str_has_prefix(event, name));
    g_assert_nonnull(strstr(event, part));
}

static void expect_mail(Scene *s, DoubleEvents *e, const void *body, size_t n)
{
    uint8_t id[ID_SIZE];
    char text[HASH_TEXT_SIZE];
    id_of(s, body, n, id, text);
    expect_event(e, "mail {\"seq\":", text);
}

static void test_events(Scene *s, gconstpointer data)
{
    EXPECT(201, submit(s, "early", 5, NULL, 0));
    DoubleEvents *bob = double_events(s->in_bob, "/v1/events", 1000);
    DoubleEvents *alice = double_events(s->in_alice, "/v1/events", 1000);
    expect_event(bob, "ready ", "{}");
    expect_event(alice, "ready ", "{}");
    expect_mail(s, bob, "early", 5);
    EXPECT(201, submit(s, "late", 4, NULL, 0));
    expect_mail(s, bob, "late", 4);
    EXPECT(200, submit(s, "late", 4, NULL, 0)); /* the same again is told once */
    EXPECT(200, acknowledge(s, "early", 5, false));
    expect_event(alice, "status ", "\"state\":\"delivered\"");
    EXPECT(201, submit(s, "last", 4, NULL, 0));
    expect_mail(s, bob, "last", 4);
    double_events_close(bob);
    EXPECT(201, submit(s, "nobody listens", 14, NULL, 0));
    double_events_close(alice);
}

/* A stream that is full goes on where it was when there is room. */
static void test_slow_events(Scene *s, gconstpointer data)
{
    for (unsigned i = 0; i < 100; i++)
        EXPECT(201, submit(s, test_body(i, 20), 20, NULL, 0));
    DoubleEvents *bob = double_events(s->in_bob, "/v1/events", 7);
    for (unsigned i = 100; i < 120; i++)
        EXPECT(201, submit(s, test_body(i, 20), 20, NULL, 0));
    expect_event(bob, "ready ", "{}");
    for (unsigned i = 0; i < 120; i++)
        expect_mail(s, bob, test_body(i, 20), 20);
    double_events_close(bob);
}

static void test_many_streams(Scene *s, gconstpointer data)
{
    GPtrArray *all = g_ptr_array_new();
    for (unsigned i = 0; i < 16; i++)
        g_ptr_array_add(all, double_events(s->in_bob, "/v1/events", 10));
    EXPECT(429, double_json(s->in_bob, "GET", "/v1/events", NULL));
    double_events_close(g_ptr_array_steal_index(all, 3));
    g_ptr_array_add(all, double_events(s->in_bob, "/v1/events", 10));
    for (guint i = 0; i < all->len; i++)
        double_events_close(all->pdata[i]);
    g_ptr_array_unref(all);
}

/* A user who is gone submits nothing, even where he is logged in still. */
static void test_gone(Scene *s, gconstpointer data)
{
    RegisterRequest q = {
        .method = REGISTER_UNREGISTER, .iat = clock_realtime(), .exp = clock_realtime() + 60};
    _cleanup_(jws_draft_done) JwsDraft draft = {};
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_SIZE_MAX);
    EXPECT(201, submit(s, "hello", 5, NULL, 0));
    g_autoptr(DoubleConnection) c = test_relay_connect(&s->relay);
    g_strlcpy(q.name, "bob", sizeof(q.name));
    memcpy(q.binding.pin, relay_key_pin(s->relay.key), PIN_SIZE);
    memcpy(q.binding.exporter, c->client.exporter, EXPORTER_SIZE);
    test_nonce(c, q.binding.nonce);
    g_assert_cmpint(register_request_prepare(&q, rsa_key_thumbprint(s->bob->sign), &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, s->bob->sign_private, &text), ==, 0);
    EXPECT(204,
           double_json(c, "POST", "/v1/unregistrations", json_pack("{s:s}", "request", buf_text(&text))));
    EXPECT(404, submit(s, "again", 5, NULL, 0));
    EXPECT(404, fetch(s, "hello", 5));
    uint8_t id[ID_SIZE];
    char id_text[HASH_TEXT_SIZE];
    id_of(s, "x", 1, id, id_text);
    g_autofree char *target = g_strdup_printf("/v1/mailboxes/%s/messages/%s", s->bob->kid, id_text);
    static const char *const headers[] = {"content-type: application/octet-stream", NULL};
    EXPECT(401,
           double_call(
               s->in_bob,
               &(DoubleCall){.method = "PUT", .target = target, .headers = headers, .body = "x", .size = 1}));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, t) g_test_add("/handlers-mail/" name, Scene, NULL, set_up, t, tear_down)
    ADD("delivery", test_delivery);
    ADD("durability", test_durability);
    ADD("blocked", test_blocked);
    ADD("list", test_list);
    ADD("bad-submission", test_bad_submission);
    ADD("transfers", test_transfers);
    ADD("bad-acknowledgement", test_bad_acknowledgement);
    ADD("full", test_full);
    ADD("stranger-rate", test_stranger_rate);
    ADD("events", test_events);
    ADD("slow-events", test_slow_events);
    ADD("many-streams", test_many_streams);
    ADD("gone", test_gone);
    return g_test_run();
}
