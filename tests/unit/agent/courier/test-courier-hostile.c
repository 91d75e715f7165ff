/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Relays that are away, lie or are somebody else. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/agent/courier/courier-fixture.h"

/* The relay does not want to hear all of it. */
static void test_submit_refused(CourierFixture *f, gconstpointer data)
{
    const char *request = "PUT /v1/mailboxes/" ID_A "/messages/" ID_B;
    const FakeAnswer full = {.status = 507,
                             .type = "application/problem+json",
                             .body = "{\"title\":\"No room\",\"status\":507}",
                             .size = -1,
                             .name = "retry-after",
                             .value = "60",
                             .mode = FAKE_EARLY};
    g_autofree guint8 *body = courier_random_body(BODY_SIZE);
    int fd = courier_file_of(body, BODY_SIZE);

    courier_log_in(f);
    fake_relay_set(f->relay, request, &full);
    courier_fail(f, "Full retry=60 The relay says: No room", "Submit", "ssshtts", f->name, ID_A, ID_B, fd,
                 (uint64_t)BODY_SIZE, (uint64_t)0, "");
    courier_nonce(f);
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 1);
    close(fd);
}

static void test_listen_fails(CourierFixture *f, gconstpointer data)
{
    const struct {
        FakeAnswer a;
        const char *error;
    } cases[] = {
        {{.type = "text/event-stream", .body = "data: x\n\n", .size = -1}, "Protocol "},
        {{.type = "text/html", .body = "event: ready\ndata: {}\n\n", .size = -1}, "Protocol "},
        {{.type = "text/event-stream", .body = "event: mail\ndata: {}\n\n", .size = -1, .mode = FAKE_OPEN},
         "Protocol "},
        {{.status = 429, .name = "retry-after", .value = "3"}, "Busy retry=3 "},
        {{.mode = FAKE_RESET}, "Unreachable "},
        {{.status = 401}, "LoginRequired "},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        courier_log_in(f);
        fake_relay_set(f->relay, "GET /v1/events", &cases[i].a);
        courier_fail(f, cases[i].error, "Listen", "s", f->name);
    }
    /* nothing of it cost the connection, but the last one the login */
    courier_fail(f, "LoginRequired ", "Status", "ss", f->name, ID_A);
    g_assert_cmpuint(courier_count_signals(f), ==, 0);
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 1);
}

static void test_hostile_answers(CourierFixture *f, gconstpointer data)
{
    g_autofree char *huge = g_strnfill(1024 * 1024, ' ');
    g_autofree char *deep = g_strnfill(60000, '[');
    const struct {
        FakeAnswer a;
        const char *error;
    } cases[] = {
        {{.type = "application/json", .body = "garbage", .size = -1}, "Protocol "},
        {{.type = "application/json", .body = "{\"nonce\":" HASH "}x", .size = -1}, "Protocol "},
        {{.type = "application/json", .body = "{\"nonce\":" HASH ",\"nonce\":" HASH "}", .size = -1},
         "Protocol "},
        {{.type = "application/json", .body = "{\"nonce\":\"AAAA\"}", .size = -1}, "Protocol "},
        {{.type = "application/json", .body = "{\"nonce\":7}", .size = -1}, "Protocol "},
        {{.type = "application/json", .body = "[]", .size = -1}, "Protocol "},
        {{.type = "application/json", .body = "", .size = 0}, "Protocol "},
        {{.type = "application/json", .body = "{\"a\":\"\0\"}", .size = 9}, "Protocol "},
        {{.type = "application/json", .body = huge, .size = -1}, "Protocol "},
        {{.type = "application/json", .body = huge, .size = -1, .no_length = true}, "Protocol "},
        {{.type = "application/json", .body = deep, .size = -1}, "Protocol "},
        {{.type = "text/plain", .body = "{\"nonce\":" HASH "}", .size = -1}, "Protocol "},
        {{.body = "{\"nonce\":" HASH "}", .size = -1}, "Protocol "},
        {{.status = 302, .name = "location", .value = "https://127.0.0.1:1/"}, "Protocol "},
        {{.status = 500, .type = "application/problem+json", .body = "{\"title\":\"\\u0007\"}", .size = -1},
         "Unreachable The relay says: ?"},
        {{.status = 503, .name = "retry-after", .value = "99999999"}, "Unreachable retry=86400 "},
        {{.status = 403, .body = huge, .size = -1}, "Protocol "},
        {{.status = 403, .type = "application/problem+json", .body = "{", .size = -1}, "Refused "},
        {{.mode = FAKE_RESET}, "Unreachable "},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("answer %zu", i);
        fake_relay_set(f->relay, "POST /v1/nonces", &cases[i].a);
        courier_fail(f, cases[i].error, "Nonce", "s", f->name);
    }
    courier_nonce(f);
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 1);
}

static void test_pins(CourierFixture *f, gconstpointer data)
{
    const char *host_port = fake_relay_host_port(f->relay);
    g_autofree char *wrong = g_strdup_printf("%s#" ID_A, host_port);
    g_autofree char *error = g_strdup_printf("PinMismatch pin=%s ", fake_relay_chain(f->relay)->pin_text);

    courier_fail(f, error, "Nonce", "s", wrong);
    courier_fail(f, error, "Nonce", "s", host_port);
    courier_fail(f, error, "Login", "ss", wrong, "q.q.q");
    g_assert_cmpuint(fake_relay_requests(f->relay), ==, 0);
    g_assert_cmpuint(fake_relay_bytes(f->relay), ==, 0);
    courier_nonce(f);
    g_assert_cmpuint(courier_count_signals(f), ==, 0);
}

/* Whatever is wrong with it is found before anything is said, by Probe as well. */
static void test_bad_relays(void)
{
    const RelayChainOptions three = {.length = 3}, one = {.length = 1},
                            unsigned_leaf = {.leaf_of_other_key = true},
                            expired = {.from = -7200, .until = -3600}, ca = {.leaf_is_ca = true};
    const struct {
        FakeRelayOptions o;
        const char *error;
    } cases[] = {
        {{.chain = &three}, "Protocol "},
        {{.chain = &one}, "Protocol "},
        {{.chain = &unsigned_leaf}, "Protocol "},
        {{.chain = &expired}, "Protocol "},
        {{.chain = &ca}, "Protocol "},
        {{.no_alpn = true}, "Protocol "},
        {{.tls12 = true}, "Unreachable "},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        CourierFixture f = {0};

        g_test_message("relay %zu", i);
        courier_set_up_with(&f, &cases[i].o);
        courier_fail(&f, cases[i].error, "Nonce", "s", f.name);
        courier_fail(&f, cases[i].error, "Probe", "s", fake_relay_host_port(f.relay));
        g_assert_cmpuint(fake_relay_requests(f.relay), ==, 0);
        g_assert_cmpuint(fake_relay_bytes(f.relay), ==, 0);
        g_assert_cmpuint(courier_count_signals(&f), ==, 0);
        courier_tear_down(&f, NULL);
    }
}

static void test_nobody(CourierFixture *f, gconstpointer data)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    g_autofree char *name = NULL;

    /* a port that nobody listens on */
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, size), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&address, &size), ==, 0);
    name = g_strdup_printf("127.0.0.1:%u#" ID_A, ntohs(address.sin_port));
    courier_fail(f, "Unreachable ", "Nonce", "s", name);
    courier_fail(f, "Unreachable ", "Nonce", "s", "name.invalid:1#" ID_A);
    g_assert_cmpuint(courier_count_signals(f), ==, 0);
    close(fd);
}

static void test_lost_in_fetch(CourierFixture *f, gconstpointer data)
{
    g_autofree guint8 *body = courier_random_body(BODY_SIZE);
    const FakeAnswer a = {
        .type = "application/octet-stream", .body = body, .size = BODY_SIZE, .mode = FAKE_HALF};
    int fd = memfd_create("destination", MFD_CLOEXEC);

    courier_log_in(f);
    courier_listen_to(f);
    fake_relay_set(f->relay, "GET /v1/mailbox/messages/" ID_A, &a);
    courier_fail(f, "Unreachable ", "Fetch", "ssh", f->name, ID_A, fd);
    TEST_AWAIT(courier_has_signal(f, "Disconnected "));
    courier_fail(f, "LoginRequired ", "Fetch", "ssh", f->name, ID_A, fd);
    courier_log_in(f);
    courier_fail(f, "NotFound ", "Status", "ss", f->name, ID_A);
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 2);
    g_assert_cmpuint(courier_count_signals(f), ==, 2);
    close(fd);
}

static void test_lost_idle(CourierFixture *f, gconstpointer data)
{
    const FakeAnswer drop = {.mode = FAKE_DROP};

    courier_nonce(f);
    fake_relay_drop(f->relay);
    TEST_AWAIT(courier_has_signal(f, "Disconnected "));
    courier_nonce(f);
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 2);
    courier_log_in(f);
    courier_listen_to(f);
    fake_relay_drop(f->relay);
    TEST_AWAIT(courier_count_signals(f) == 3);
    courier_fail(f, "LoginRequired ", "Listen", "s", f->name);

    /* one that gave nothing is not missed */
    g_ptr_array_set_size(f->signals, 0);
    fake_relay_set(f->relay, "GET /v1/relay", &drop);
    courier_fail(f, "Unreachable ", "Relay", "s", f->name);
    courier_fail(f, "Unreachable ", "Relay", "s", f->name);
    g_assert_cmpuint(courier_count_signals(f), ==, 0);
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 4);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*f)(CourierFixture *f, gconstpointer data);
    } tests[] = {
        {"/courier/hostile/submit-refused", test_submit_refused},
        {"/courier/hostile/listen-fails", test_listen_fails},
        {"/courier/hostile/hostile-answers", test_hostile_answers},
        {"/courier/hostile/pins", test_pins},
        {"/courier/hostile/nobody", test_nobody},
        {"/courier/hostile/lost-in-fetch", test_lost_in_fetch},
        {"/courier/hostile/lost-idle", test_lost_idle},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, CourierFixture, NULL, courier_set_up, tests[i].f, courier_tear_down);
    g_test_add_func("/courier/hostile/bad-relays", test_bad_relays);
    return g_test_run();
}
