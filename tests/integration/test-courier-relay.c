/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The courier and the real relay, with keys in software instead of an agent. */

#include <string.h>
#include <unistd.h>

#include "agent/courier/courier.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/wire/proof.h"
#include "libhmsg/wire/statement.h"
#include "tests/lib/person.h"
#include "tests/lib/scene.h"
#include "tests/unit/agent/courier/courier-fixture.h"

#define SMALL_SIZE 1000
#define LARGE_SIZE (2 * 1024 * 1024 + 1)

typedef struct Login {
    RelayStatement relay;
    RequestBinding binding;
    Secret *ack_key;
} Login;

static sd_bus_message *call_built(CourierFixture *f, sd_bus_message *m)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *reply = NULL;

    if (sd_bus_call(f->bus, m, 0, &error, &reply) < 0)
        g_error("%s: %s: %s", sd_bus_message_get_member(m), error.name, error.message);
    sd_bus_message_unref(m);
    return reply;
}

static sd_bus_message *build(CourierFixture *f, const char *member)
{
    sd_bus_message *m = NULL;

    g_assert_cmpint(sd_bus_message_new_method_call(f->bus, &m, NULL, COURIER_PATH, COURIER_INTERFACE, member),
                    >=, 0);
    g_assert_cmpint(sd_bus_message_append(m, "s", f->name), >=, 0);
    return m;
}

static void read_exactly(sd_bus_message *m, void *ret, size_t size)
{
    const void *data;
    size_t n;

    g_assert_cmpint(sd_bus_message_read_array(m, 'y', &data, &n), >, 0);
    g_assert_cmpuint(n, ==, size);
    memcpy(ret, data, size);
}

static char *read_string(sd_bus_message *m)
{
    const char *s;

    g_assert_cmpint(sd_bus_message_read(m, "s", &s), >, 0);
    return g_strdup(s);
}

static char *sign(const TestPerson *p, JwsDraft *draft)
{
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);
    char *text;

    g_assert_cmpint(jws_sign_rsa(draft, p->sign_private, &jws), ==, 0);
    text = g_strdup(buf_text(&jws));
    jws_draft_done(draft);
    return text;
}

/* The secret that the relay encrypted to the decrypt key. */
static Secret *open_pop(const TestPerson *p, const RequestBinding *b, sd_bus_message *reply)
{
    _cleanup_(secret_freep) Secret *plaintext = NULL;
    Secret *secret = NULL;
    const void *pop;
    size_t n;

    g_assert_cmpint(sd_bus_message_read_array(reply, 'y', &pop, &n), >, 0);
    g_assert_cmpint(rsa_private_oaep_decrypt(p->decrypt_private, pop, n, &plaintext), ==, 0);
    g_assert_cmpint(pop_open(plaintext, b->pin, &secret), ==, 0);
    return secret;
}

static void enrol(CourierFixture *f, const TestPerson *p, const char *name)
{
    g_autofree char *host_port = g_strndup(f->name, (gsize)(strchr(f->name, '#') - f->name));
    g_autofree char *address = g_strdup_printf("%s@%s", name, host_port);
    g_autofree char *statement = test_person_statement(p, address);
    g_autofree char *request = NULL;
    RegisterRequest r = {.method = REGISTER_MEMBER, .iat = clock_realtime(), .exp = clock_realtime() + 200};
    sd_bus_message *m = build(f, "Challenge"), *reply;
    JwsDraft draft = {0};
    uint8_t answer[SHA256_SIZE];
    const uint8_t *spki;
    Secret *secret;
    size_t n;

    g_assert_cmpint(base64url_decode_exact(strchr(f->name, '#') + 1, 43, r.binding.pin, PIN_SIZE), ==, 0);
    spki = rsa_key_spki(p->decrypt, &n);
    g_assert_cmpint(sd_bus_message_append_array(m, 'y', spki, n), >=, 0);
    reply = call_built(f, m);
    read_exactly(reply, r.binding.nonce, NONCE_SIZE);
    secret = open_pop(p, &r.binding, reply);
    read_exactly(reply, r.binding.exporter, EXPORTER_SIZE);
    sd_bus_message_unref(reply);

    g_strlcpy(r.name, name, sizeof(r.name));
    g_assert_cmpint(crypto_sha256(statement, strlen(statement), r.statement_sha256), ==, 0);
    g_assert_cmpint(register_request_prepare(&r, rsa_key_thumbprint(p->sign), &draft), ==, 0);
    request = sign(p, &draft);
    g_assert_cmpint(pop_answer(secret, request, strlen(request), answer), ==, 0);
    (void)secret_free(secret);
    m = build(f, "Register");
    g_assert_cmpint(sd_bus_message_append(m, "ss", statement, request), >=, 0);
    g_assert_cmpint(sd_bus_message_append_array(m, 'y', answer, sizeof(answer)), >=, 0);
    g_assert_cmpint(sd_bus_message_append(m, "a{sv}", 0), >=, 0);
    sd_bus_message_unref(call_built(f, m));

    reply = courier_call(f, "LookupName", "sss", f->name, name, "");
    g_autofree char *found = read_string(reply);
    g_assert_cmpstr(found, ==, statement);
    sd_bus_message_unref(reply);
    courier_fail(f, "NotFound ", "LookupName", "sss", f->name, "nobody", "");
}

static void log_in(CourierFixture *f, const TestPerson *p, Login *ret)
{
    LoginRequest r = {.iat = clock_realtime(), .exp = clock_realtime() + 200};
    const uint8_t *skid = rsa_key_thumbprint(p->sign);
    sd_bus_message *reply = courier_call(f, "Nonce", "s", f->name);
    LoginResponse response;
    JwsDraft draft = {0};
    Secret *own = NULL;

    g_assert_cmpint(base64url_decode_exact(strchr(f->name, '#') + 1, 43, r.binding.pin, PIN_SIZE), ==, 0);
    read_exactly(reply, r.binding.nonce, NONCE_SIZE);
    read_exactly(reply, r.binding.exporter, EXPORTER_SIZE);
    sd_bus_message_unref(reply);
    g_assert_cmpint(x25519_generate(&own, r.epk), ==, 0);
    g_assert_cmpint(login_request_prepare(&r, skid, &draft), ==, 0);
    g_autofree char *request = sign(p, &draft);
    reply = courier_call(f, "Login", "ss", f->name, request);
    g_autofree char *text = read_string(reply);
    g_autofree char *statement = read_string(reply);
    sd_bus_message_unref(reply);
    ret->binding = r.binding;
    g_assert_cmpint(
        relay_statement_parse(statement, strlen(statement), r.binding.pin, clock_realtime(), &ret->relay), ==,
        0);
    g_assert_cmpint(login_response_parse(text, strlen(text), ret->relay.online, r.binding.pin, skid,
                                         r.binding.nonce, clock_realtime(), &response),
                    ==, 0);
    g_assert_cmpint(ack_key_derive(own, response.epk, r.binding.nonce, r.binding.pin, skid, &ret->ack_key),
                    ==, 0);
    (void)secret_free(own);
}

static void login_done(Login *l)
{
    relay_statement_done(&l->relay);
    (void)secret_free(l->ack_key);
    *l = (Login){0};
}

/* To oneself. The relay's receipt is of it. */
static void submit(CourierFixture *f, const TestPerson *p, const Login *l, const guint8 *body, gsize size,
                   uint8_t ret_id[static ID_SIZE])
{
    int fd = courier_file_of(body, size);
    char id[HASH_TEXT_SIZE];
    sd_bus_message *reply;
    Receipt receipt;

    g_assert_cmpint(message_id(p->kids[0], body, size, ret_id), ==, 0);
    base64url_encode(ret_id, ID_SIZE, id);
    reply = courier_call(f, "Submit", "ssshtts", f->name, p->kid, id, fd, (uint64_t)size, (uint64_t)0, "");
    g_autofree char *text = read_string(reply);
    sd_bus_message_unref(reply);
    g_assert_cmpint(
        receipt_parse(text, strlen(text), l->relay.online, l->binding.pin, clock_realtime(), &receipt), ==,
        0);
    g_assert_cmpmem(receipt.id, ID_SIZE, ret_id, ID_SIZE);
    /* a body that has another id */
    courier_fail(f, "Refused ", "Submit", "ssshtts", f->name, p->kid, id, fd, (uint64_t)size - 1, (uint64_t)0,
                 "");
    close(fd);
}

static void fetch(CourierFixture *f, const uint8_t id[static ID_SIZE], const guint8 *body, gsize size)
{
    g_autofree guint8 *got = g_malloc(size + 1);
    char text[HASH_TEXT_SIZE];
    int fd = courier_file_of("", 0);

    base64url_encode(id, ID_SIZE, text);
    sd_bus_message_unref(courier_call(f, "Fetch", "ssh", f->name, text, fd));
    g_assert_cmpint(pread(fd, got, size + 1, 0), ==, (gssize)size);
    g_assert_cmpmem(got, size, body, size);
    close(fd);
}

static void acknowledge(CourierFixture *f, const Login *l, const uint8_t id[static ID_SIZE])
{
    sd_bus_message *m = build(f, "Acknowledge"), *reply;
    uint8_t mac[SHA256_SIZE];
    char text[HASH_TEXT_SIZE];

    base64url_encode(id, ID_SIZE, text);
    g_assert_cmpint(ack_mac(l->ack_key, l->binding.pin, id, 1, mac), ==, 0);
    g_assert_cmpint(sd_bus_message_append(m, "as", 1, text), >=, 0);
    g_assert_cmpint(sd_bus_message_append_array(m, 'y', mac, sizeof(mac)), >=, 0);
    reply = call_built(f, m);
    g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "s"), >, 0);
    g_autofree char *done = read_string(reply);
    g_assert_cmpstr(done, ==, text);
    sd_bus_message_unref(reply);
}

static unsigned count(CourierFixture *f, const char *prefix)
{
    unsigned n = 0;

    courier_process(f);
    for (guint i = 0; i < f->signals->len; i++)
        n += g_str_has_prefix(g_ptr_array_index(f->signals, i), prefix);
    return n;
}

static void test_mail(void)
{
    g_autoptr(Scene) s = scene_new();
    g_autoptr(TestPerson) p = test_person_new();
    g_autofree guint8 *body = courier_random_body(LARGE_SIZE);
    uint8_t small[ID_SIZE], large[ID_SIZE];
    CourierFixture f = {0};
    Login l = {0};

    scene_relay_start(s);
    g_autofree char *relay = g_strdup(scene_relay(s));
    courier_start(&f, relay);
    enrol(&f, p, "alice");
    courier_fail(&f, "LoginRequired ", "Listen", "s", f.name);
    log_in(&f, p, &l);
    submit(&f, p, &l, body, SMALL_SIZE, small);
    sd_bus_message_unref(courier_call(&f, "Listen", "s", f.name));
    submit(&f, p, &l, body, LARGE_SIZE, large);
    TEST_AWAIT(count(&f, "Mail") == 2);
    fetch(&f, small, body, SMALL_SIZE);
    fetch(&f, large, body, LARGE_SIZE);
    acknowledge(&f, &l, small);
    TEST_AWAIT(count(&f, "Status") == 1);

    /* the relay dies; what was accepted is there afterwards */
    scene_relay_kill(s);
    TEST_AWAIT(count(&f, "Disconnected") == 1);
    courier_fail(&f, "LoginRequired ", "List", "st", f.name, (uint64_t)0);
    courier_fail(&f, "Unreachable ", "Nonce", "s", f.name);
    scene_relay_start(s);
    login_done(&l);
    log_in(&f, p, &l);
    fetch(&f, large, body, LARGE_SIZE);
    acknowledge(&f, &l, large);
    g_assert_cmpuint(count(&f, "Disconnected"), ==, 1);

    /* ended in good order it is missed just as well */
    scene_relay_stop(s);
    TEST_AWAIT(count(&f, "Disconnected") == 2);
    login_done(&l);
    courier_stop(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/courier/relay/mail", test_mail);
    return g_test_run();
}
