/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/bench/relay-client.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/wire/proof.h"
#include "libhmsg/wire/statement.h"

static void make_relay(const BenchRelay *b, const char *program, const char *relay, const char *config,
                       const char *tail)
{
    const char *const init[] = {program,    "init",        "--host", "127.0.0.1",
                                "--listen", "127.0.0.1:0", relay,    NULL};
    g_autofree char *text = NULL, *all = NULL;
    if (g_file_test(config, G_FILE_TEST_EXISTS))
        return;
    g_assert_cmpint(test_run(init, NULL, NULL, NULL, NULL), ==, 0);
    g_assert_true(g_file_get_contents(config, &text, NULL, NULL));
    all = g_strconcat(text, tail, NULL);
    g_assert_true(g_file_set_contents(config, all, -1, NULL));
}

void bench_relay_start(BenchRelay *b, const char *tail)
{
    g_autofree char *program = g_build_filename(g_getenv("HMSG_BUILD"), "server", "hmsg-relay", NULL);
    g_autofree char *config = g_build_filename(b->folder, "relay", "relay.conf", NULL);
    g_autofree char *relay = g_build_filename(b->folder, "relay", NULL);
    g_autofree char *log = g_build_filename(b->folder, "relay.log", NULL);
    g_autofree char *address = NULL;
    Relay r;
    const char *const serve[] = {program, "serve", "--config", config, NULL};
    make_relay(b, program, relay, config, tail);
    b->data = g_build_filename(relay, "data", NULL);
    g_autofree char *path = g_build_filename(b->data, "address", NULL);
    (void)g_unlink(path); /* of one that was killed */
    b->process = test_process_start(serve, NULL, log);
    TEST_AWAIT(g_file_get_contents(path, &address, NULL, NULL) && g_str_has_suffix(address, "\n"));
    g_strchomp(address);
    g_assert_cmpint(relay_parse(address, &r), ==, 0);
    b->host = g_strdup(r.host);
    b->port = r.port;
    memcpy(b->pin, r.pin, PIN_SIZE);
}

static void forget(BenchRelay *b)
{
    b->process = NULL;
    g_clear_pointer(&b->data, g_free);
    g_clear_pointer(&b->host, g_free);
}

void bench_relay_kill(BenchRelay *b)
{
    test_process_signal(b->process, SIGKILL);
    (void)test_process_wait(b->process);
    forget(b);
}

int bench_relay_stop(BenchRelay *b)
{
    const int status = test_process_stop(b->process);
    forget(b);
    return status;
}

json_t *bench_relay_call(H2 *h, const char *method, const char *path, json_t *body, int status)
{
    H2Answer a = {};
    _cleanup_(buf_done) Buf text = BUF_MAX(RELAY_BODY_SIZE_MAX);
    json_t *j = NULL;
    if (body)
        g_assert_cmpint(json_write(body, &text), ==, 0);
    json_decref(body);
    h2_start(h, method, path, "application/json", body ? text.data : NULL, text.size, &a);
    h2_wait(h, &a, true);
    if (a.status != status)
        g_error("%s %s: %d %s", method, path, a.status, buf_text(&a.body));
    g_assert_cmpint(json_parse_object(buf_text(&a.body), a.body.size, &j), ==, 0);
    buf_done(&a.body);
    return j;
}

static void bind_request(const BenchRelay *b, const H2 *h, const json_t *nonce, RequestBinding *ret)
{
    memcpy(ret->pin, b->pin, PIN_SIZE);
    memcpy(ret->exporter, h2_exporter(h), EXPORTER_SIZE);
    g_assert_cmpint(json_get_bytes(nonce, "nonce", ret->nonce, NONCE_SIZE), ==, 0);
}

static void answer_challenge(const BenchRelay *b, const TestPerson *p, const json_t *challenge,
                             const Buf *request, json_t *to)
{
    _cleanup_(buf_done) Buf pop = BUF_MAX(RSA_SIZE_MAX);
    _cleanup_(secret_freep) Secret *plaintext = NULL, *secret = NULL;
    uint8_t answer[SHA256_SIZE];
    g_assert_cmpint(json_get_buf(challenge, "pop", &pop), ==, 0);
    g_assert_cmpint(rsa_private_oaep_decrypt(p->decrypt_private, pop.data, pop.size, &plaintext), ==, 0);
    g_assert_cmpint(pop_open(plaintext, b->pin, &secret), ==, 0);
    g_assert_cmpint(pop_answer(secret, buf_text(request), request->size, answer), ==, 0);
    g_assert_cmpint(json_put_bytes(to, "answer", answer, sizeof(answer)), ==, 0);
}

void bench_relay_enrol(const BenchRelay *b, H2 *h, const TestPerson *p, const char *name)
{
    g_autofree char *address = g_strdup_printf("%s@%s:%u", name, b->host, b->port);
    g_autofree char *statement = test_person_statement(p, address);
    RegisterRequest q = {.method = REGISTER_MEMBER, .iat = clock_realtime(), .exp = clock_realtime() + 60};
    _cleanup_(jws_draft_done) JwsDraft draft = {};
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_SIZE_MAX);
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(p->decrypt, &n);
    json_t *body = json_object(), *question = json_object();
    g_assert_cmpint(json_put_bytes(question, "decrypt_spki", spki, n), ==, 0);
    json_t *challenge = bench_relay_call(h, "POST", "/v1/challenges", question, 200);
    bind_request(b, h, challenge, &q.binding);
    g_strlcpy(q.name, name, sizeof(q.name));
    g_assert_cmpint(crypto_sha256(statement, strlen(statement), q.statement_sha256), ==, 0);
    g_assert_cmpint(register_request_prepare(&q, rsa_key_thumbprint(p->sign), &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, p->sign_private, &text), ==, 0);
    g_assert_cmpint(json_put_text(body, "statement", statement), ==, 0);
    g_assert_cmpint(json_put_text(body, "request", buf_text(&text)), ==, 0);
    answer_challenge(b, p, challenge, &text, body);
    json_decref(challenge);
    json_decref(bench_relay_call(h, "POST", "/v1/registrations", body, 201));
}

/* The key of acknowledgements, out of the answer to a login. */
static Secret *read_response(const BenchRelay *b, const TestPerson *p, const LoginRequest *q,
                             const Secret *own, const json_t *answer)
{
    _cleanup_(relay_statement_done) RelayStatement s = {};
    const char *text = NULL;
    size_t n = 0;
    LoginResponse response;
    Secret *ack = NULL;
    const uint8_t *skid = rsa_key_thumbprint(p->sign);
    g_assert_cmpint(json_get_text(answer, "relay", JWS_SIZE_MAX, &text, &n), ==, 0);
    g_assert_cmpint(relay_statement_parse(text, n, b->pin, clock_realtime(), &s), ==, 0);
    g_assert_cmpint(json_get_text(answer, "response", JWS_SIZE_MAX, &text, &n), ==, 0);
    g_assert_cmpint(
        login_response_parse(text, n, s.online, b->pin, skid, q->binding.nonce, clock_realtime(), &response),
        ==, 0);
    g_assert_cmpint(ack_key_derive(own, response.epk, q->binding.nonce, b->pin, skid, &ack), ==, 0);
    return ack;
}

H2 *bench_relay_log_in(const BenchRelay *b, const TestPerson *p, Secret **ret_ack)
{
    H2 *h = h2_connect(b->host, b->port);
    LoginRequest q = {.iat = clock_realtime(), .exp = clock_realtime() + 60};
    _cleanup_(jws_draft_done) JwsDraft draft = {};
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_SIZE_MAX);
    _cleanup_(secret_freep) Secret *own = NULL;
    json_t *nonce = bench_relay_call(h, "POST", "/v1/nonces", json_object(), 200);
    bind_request(b, h, nonce, &q.binding);
    json_decref(nonce);
    g_assert_cmpint(x25519_generate(&own, q.epk), ==, 0);
    g_assert_cmpint(login_request_prepare(&q, rsa_key_thumbprint(p->sign), &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, p->sign_private, &text), ==, 0);
    json_t *answer =
        bench_relay_call(h, "POST", "/v1/logins", json_pack("{s:s}", "request", buf_text(&text)), 200);
    if (ret_ack)
        *ret_ack = read_response(b, p, &q, own, answer);
    json_decref(answer);
    return h;
}

void bench_relay_acknowledge(const BenchRelay *b, H2 *h, const Secret *ack, const uint8_t *ids, size_t n,
                             Buf *text, H2Answer *answer)
{
    json_t *all = json_array(), *body = json_pack("{s:o}", "ids", all);
    uint8_t mac[SHA256_SIZE];
    for (size_t i = 0; i < n; i++) {
        char id[HASH_TEXT_SIZE];
        base64url_encode(ids + i * ID_SIZE, ID_SIZE, id);
        g_assert_cmpint(json_array_append_new(all, json_string(id)), ==, 0);
    }
    g_assert_cmpint(ack_mac(ack, b->pin, ids, n, mac), ==, 0);
    g_assert_cmpint(json_put_bytes(body, "mac", mac, sizeof(mac)), ==, 0);
    g_assert_cmpint(json_write(body, text), ==, 0);
    json_decref(body);
    h2_start(h, "POST", "/v1/mailbox/acknowledgements", "application/json", text->data, text->size, answer);
}
