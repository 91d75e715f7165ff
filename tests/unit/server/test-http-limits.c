/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <curl/curl.h>
#include <nghttp2/nghttp2.h>
#include <string.h>
#include <unistd.h>

#include "libhmsg/base/encode.h"
#include "server/http-server.h"
#include "tests/lib/process.h"
#include "tests/unit/server/http-fixture.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define EMPTY_SETTINGS "\0\0\0\4\0\0\0\0\0"
#define UNFINISHED_HEADERS "\0\0\1\1\0\0\0\0\1\x82" /* :method GET, and more to come */
#define BIG_SIZE 200000u

static int exporter_end(HttpRequest *r)
{
    const Client *c = http_request_client(r);
    Buf b = BUF_MAX(100);
    char text[EXPORTER_SIZE * 2 + 1];

    hex_encode(c->exporter, EXPORTER_SIZE, text);
    g_assert_cmpint(buf_append_string(&b, text), ==, 0);
    http_answer_buf(r, 200, "text/plain", &b);
    return 0;
}

/* Answers when the test says so. */
static int held_end(HttpRequest *r)
{
    g_async_queue_push(http_request_context(r), http_request_ref(r));
    return 0;
}

static int big_end(HttpRequest *r)
{
    _cleanup_(buf_done) Buf b = BUF_MAX(BIG_SIZE);

    g_assert_cmpint(buf_reserve(&b, BIG_SIZE), ==, 0);
    memset(b.data, 'b', BIG_SIZE);
    b.size = BIG_SIZE;
    http_answer_buf(r, 200, "text/plain", &b);
    return 0;
}

static const HttpRoute routes[] = {
    {.method = "GET", .pattern = "/v1/big", .end = big_end},
    {.method = "GET", .pattern = "/v1/exporter", .end = exporter_end},
    {.method = "GET", .pattern = "/v1/held", .end = held_end},
    {.method = "PUT", .pattern = "/v1/put", .body_max = 1000000, .end = held_end},
};

static HttpOptions options(void)
{
    return (HttpOptions){.routes = routes, .n_routes = G_N_ELEMENTS(routes)};
}

static void test_tls(void)
{
    HttpOptions o = options();
    Fixture f;
    SSL *ssl;
    STACK_OF(X509) * chain;

    fixture_start(&f, &o);
    g_assert_null(fixture_tls(&f, TLS1_2_VERSION, "\2h2"));
    g_assert_null(fixture_tls(&f, TLS1_3_VERSION, "\10http/1.1"));
    ssl = fixture_tls(&f, TLS1_3_VERSION, NULL); /* nothing is said on it */
    g_assert_nonnull(ssl);
    fixture_tls_await_end(ssl);
    fixture_tls_free(ssl);

    ssl = fixture_tls(&f, TLS1_3_VERSION, "\10http/1.1\2h2");
    g_assert_nonnull(ssl);
    g_assert_cmpint(SSL_version(ssl), ==, TLS1_3_VERSION);
    chain = SSL_get_peer_cert_chain(ssl);
    g_assert_cmpint(sk_X509_num(chain), ==, 2);
    g_assert_cmpint(X509_verify(sk_X509_value(chain, 0), X509_get0_pubkey(sk_X509_value(chain, 1))), ==, 1);
    fixture_tls_free(ssl);
    fixture_stop(&f);
}

typedef struct Exchange {
    SSL *ssl;
    GString *body;
    bool closed, read, no_window_updates;
    uint32_t error;
} Exchange;

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t n, int flags, void *userdata)
{
    Exchange *x = userdata;

    return SSL_write(x->ssl, data, (int)n) > 0 ? (ssize_t)n : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static ssize_t on_receive(nghttp2_session *session, uint8_t *to, size_t n, int flags, void *userdata)
{
    Exchange *x = userdata;
    int k;

    x->read = !x->read;
    if (!x->read) /* one record at a time */
        return NGHTTP2_ERR_WOULDBLOCK;
    k = SSL_read(x->ssl, to, (int)n);
    return k > 0 ? k : NGHTTP2_ERR_EOF;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t n,
                    void *userdata)
{
    Exchange *x = userdata;

    g_string_append_len(x->body, (const char *)data, (gssize)n);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *userdata)
{
    Exchange *x = userdata;

    x->closed = true;
    x->error = error;
    return 0;
}

static nghttp2_session *client_new(Exchange *x)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_session *session = NULL;
    nghttp2_option *option = NULL;

    g_assert_cmpint(nghttp2_session_callbacks_new(&callbacks), ==, 0);
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_recv_callback(callbacks, on_receive);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    g_assert_cmpint(nghttp2_option_new(&option), ==, 0);
    nghttp2_option_set_no_auto_window_update(option, x->no_window_updates);
    g_assert_cmpint(nghttp2_session_client_new2(&session, callbacks, x, option), ==, 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    g_assert_cmpint(nghttp2_submit_settings(session, 0, NULL, 0), ==, 0);
    return session;
}

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value),
                        NGHTTP2_NV_FLAG_NONE};
}

static void submit(nghttp2_session *session, const char *method, const char *path,
                   const nghttp2_data_provider *body)
{
    const nghttp2_nv fields[] = {field(":method", method), field(":path", path), field(":scheme", "https"),
                                 field(":authority", "relay")};

    g_assert_cmpint(nghttp2_submit_request(session, NULL, fields, G_N_ELEMENTS(fields), body, NULL), >, 0);
}

/* Until the stream is closed. */
static void finish(nghttp2_session *session, const Exchange *x)
{
    while (!x->closed)
        g_assert_cmpint(nghttp2_session_send(session) + nghttp2_session_recv(session), ==, 0);
}

/* The relay and its client see the same TLS exporter (RFC 9266). */
static void test_exporter(void)
{
    static const char label[] = "EXPORTER-Channel-Binding";
    HttpOptions o = options();
    uint8_t exporter[EXPORTER_SIZE];
    char text[EXPORTER_SIZE * 2 + 1];
    Exchange x = {.body = g_string_new(NULL)};
    Fixture f;

    fixture_start(&f, &o);
    x.ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
    g_assert_nonnull(x.ssl);
    nghttp2_session *session = client_new(&x);
    submit(session, "GET", "/v1/exporter", NULL);
    finish(session, &x);
    g_assert_cmpint(SSL_export_keying_material(x.ssl, exporter, sizeof(exporter), label, strlen(label),
                                               (const unsigned char *)"", 0, 1),
                    ==, 1);
    hex_encode(exporter, sizeof(exporter), text);
    g_assert_cmpstr(x.body->str, ==, text);
    nghttp2_session_del(session);
    fixture_tls_free(x.ssl);
    g_string_free(x.body, TRUE);
    fixture_stop(&f);
}

/* Each kind of client that only waits is given up in its time. */
static void test_timeouts(void)
{
    HttpOptions o = options();
    char buffer[16];
    Fixture f;
    SSL *ssl;

    o.timeouts = (HttpTimeouts){.handshake = 1, .idle = 1};
    fixture_start(&f, &o);
    int fd = fixture_connect(&f); /* no handshake */
    g_assert_cmpint(read(fd, buffer, sizeof(buffer)), ==, 0);
    close(fd);

    ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2"); /* no settings */
    fixture_tls_await_end(ssl);
    fixture_tls_free(ssl);

    ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2"); /* no request */
    g_assert_cmpint(SSL_write(ssl, PREFACE EMPTY_SETTINGS, sizeof(PREFACE EMPTY_SETTINGS) - 1), >, 0);
    fixture_tls_await_end(ssl);
    fixture_tls_free(ssl);
    TEST_AWAIT(http_server_connections(f.server) == 0);
    fixture_stop(&f);
}

static void test_not_http2(void)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: relay\r\n\r\n";
    HttpOptions o = options();
    Fixture f;

    fixture_start(&f, &o);
    SSL *ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
    g_assert_cmpint(SSL_write(ssl, text, sizeof(text) - 1), >, 0);
    fixture_tls_await_end(ssl);
    fixture_tls_free(ssl);
    fixture_stop(&f);
}

/* A body that never comes. */
static ssize_t on_never(nghttp2_session *session, int32_t stream, uint8_t *to, size_t n, uint32_t *flags,
                        nghttp2_data_source *source, void *userdata)
{
    return NGHTTP2_ERR_DEFERRED;
}

static void test_slow_body(void)
{
    const nghttp2_data_provider never = {.read_callback = on_never};
    Exchange x = {.body = g_string_new(NULL)};
    HttpOptions o = options();
    Fixture f;

    o.timeouts.body = 1;
    fixture_start(&f, &o);
    x.ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
    nghttp2_session *session = client_new(&x);
    submit(session, "PUT", "/v1/put", &never);
    finish(session, &x);
    g_assert_cmpuint(x.error, ==, NGHTTP2_CANCEL);
    nghttp2_session_del(session);
    fixture_tls_free(x.ssl);
    g_string_free(x.body, TRUE);
    fixture_stop(&f);
}

/* A header that never ends. */
static void test_slow_header(void)
{
    static const char begin[] = PREFACE EMPTY_SETTINGS UNFINISHED_HEADERS;
    HttpOptions o = options();
    Fixture f;

    o.timeouts = (HttpTimeouts){.body = 1, .idle = 1};
    fixture_start(&f, &o);
    SSL *ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
    g_assert_cmpint(SSL_write(ssl, begin, sizeof(begin) - 1), >, 0);
    fixture_tls_await_end(ssl);
    fixture_tls_free(ssl);
    fixture_stop(&f);
}

/* After a greeting, the same frames over and over, whose answers nobody reads, until the server has closed.
 */
static void flood(const char *begin, size_t begin_size, const char *frame, size_t frame_size)
{
    HttpOptions o = options();
    Fixture f;
    bool open = true;

    fixture_start(&f, &o);
    SSL *ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
    g_assert_cmpint(SSL_write(ssl, PREFACE EMPTY_SETTINGS, sizeof(PREFACE EMPTY_SETTINGS) - 1), >, 0);
    if (begin_size > 0)
        g_assert_cmpint(SSL_write(ssl, begin, (int)begin_size), >, 0);
    /* it reads on until its answers fill both sockets' buffers */
    for (unsigned i = 0; i < 10000000 && open; i++)
        open = SSL_write(ssl, frame, (int)frame_size) > 0;
    g_assert_false(open);
    fixture_tls_free(ssl);
    TEST_AWAIT(http_server_connections(f.server) == 0);
    fixture_stop(&f);
}

static void test_floods(void)
{
    static const char headers[] = UNFINISHED_HEADERS, continuation[] = "\0\0\0\11\0\0\0\0\1",
                      ping[] = "\0\0\10\6\0\0\0\0\0pingping", settings[] = EMPTY_SETTINGS;

    flood(headers, sizeof(headers) - 1, continuation, sizeof(continuation) - 1);
    flood(NULL, 0, ping, sizeof(ping) - 1);
    flood(NULL, 0, settings, sizeof(settings) - 1);
}

/* Quick at first, then nothing. */
static ssize_t on_first(nghttp2_session *session, int32_t stream, uint8_t *to, size_t n, uint32_t *flags,
                        nghttp2_data_source *source, void *userdata)
{
    size_t *left = source->ptr;

    if (*left == 0)
        return NGHTTP2_ERR_DEFERRED;
    n = MIN(n, *left);
    memset(to, 'a', n);
    *left -= n;
    return (ssize_t)n;
}

static void test_slower_body(void)
{
    size_t left = 60000;
    const nghttp2_data_provider first = {.source.ptr = &left, .read_callback = on_first};
    Exchange x = {.body = g_string_new(NULL)};
    HttpOptions o = options();
    Fixture f;

    o.timeouts.body = 1;
    fixture_start(&f, &o);
    x.ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
    nghttp2_session *session = client_new(&x);
    gint64 begin = g_get_monotonic_time();
    submit(session, "PUT", "/v1/put", &first);
    finish(session, &x);
    g_assert_cmpuint(x.error, ==, NGHTTP2_CANCEL);
    /* what came first does not count for ever */
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 60000 / HTTP_BODY_RATE_MIN * G_USEC_PER_SEC);
    nghttp2_session_del(session);
    fixture_tls_free(x.ssl);
    g_string_free(x.body, TRUE);
    fixture_stop(&f);
}

/* Takes an answer byte by byte, with a pause after each. */
static void test_slow_reader(void)
{
    Exchange x = {.body = g_string_new(NULL), .no_window_updates = true};
    HttpOptions o = options();
    Fixture f;

    o.timeouts.stall = 1;
    fixture_start(&f, &o);
    x.ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
    nghttp2_session *session = client_new(&x);
    submit(session, "GET", "/v1/big", NULL);
    while (!x.closed) {
        if (x.body->len >= NGHTTP2_INITIAL_WINDOW_SIZE) {
            g_usleep(G_USEC_PER_SEC / 50);
            g_assert_cmpint(nghttp2_submit_window_update(session, 0, 0, 1), ==, 0);
            g_assert_cmpint(nghttp2_submit_window_update(session, 0, 1, 1), ==, 0);
        }
        g_assert_cmpint(nghttp2_session_send(session) + nghttp2_session_recv(session), ==, 0);
    }
    g_assert_cmpuint(x.error, ==, NGHTTP2_CANCEL);
    g_assert_cmpuint(x.body->len, <, BIG_SIZE);
    nghttp2_session_del(session);
    fixture_tls_free(x.ssl);
    g_string_free(x.body, TRUE);
    fixture_stop(&f);
}

/* Bodies that wait, in and out, take so much memory and no more. */
static void test_memory(void)
{
    g_autoptr(GAsyncQueue) queue = g_async_queue_new();
    g_autofree char *body = g_strnfill(60000, 'b');
    Exchange x = {.body = g_string_new(NULL)};
    HttpOptions o = options();
    size_t left[4];
    Answer a;
    Fixture f;

    o.context = queue;
    o.memory = BIG_SIZE + 50000;
    fixture_start(&f, &o);
    x.ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
    nghttp2_session *session = client_new(&x);
    for (unsigned i = 0; i < G_N_ELEMENTS(left); i++) {
        const nghttp2_data_provider part = {.source.ptr = &left[i], .read_callback = on_first};

        left[i] = strlen(body);
        submit(session, "PUT", "/v1/put", &part);
        while (left[i] > 0) {
            g_assert_cmpint(nghttp2_session_send(session), ==, 0);
            if (left[i] > 0) /* more when there is room again */
                g_assert_cmpint(nghttp2_session_recv(session), ==, 0);
        }
    }
    fixture_expect_problem(&f, "PUT", "/v1/put", NULL, body, -1, 503, "unavailable");
    fixture_expect_problem(&f, NULL, "/v1/big", NULL, NULL, -1, 503, "unavailable");
    nghttp2_session_del(session);
    fixture_tls_free(x.ssl);
    TEST_AWAIT(http_server_connections(f.server) == 0);
    fixture_fetch(&f, NULL, "/v1/big", NULL, NULL, -1, &a);
    g_assert_cmpint(a.status, ==, 200);
    g_assert_cmpuint(a.body->len, ==, BIG_SIZE);
    answer_clear(&a);
    g_string_free(x.body, TRUE);
    fixture_stop(&f);
}

/* Requests that the server has to reset, for they are wrong. */
static void test_made_reset(void)
{
    const nghttp2_nv fields[] = {field(":method", "GET"), field(":path", "/v1/held"),
                                 field(":scheme", "https"), field(":authority", "relay"),
                                 field("content-length", "5")};
    Exchange x = {.body = g_string_new(NULL)};
    HttpOptions o = options();
    Fixture f;
    int e = 0;

    fixture_start(&f, &o);
    x.ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
    nghttp2_session *session = client_new(&x);
    for (int i = 0; i < 5000 && e == 0; i++) {
        g_assert_cmpint(nghttp2_submit_request(session, NULL, fields, G_N_ELEMENTS(fields), NULL, NULL), >,
                        0);
        e = nghttp2_session_send(session);
        if (e == 0)
            e = nghttp2_session_recv(session);
    }
    g_assert_true(e != 0 || nghttp2_session_check_request_allowed(session) == 0);
    nghttp2_session_del(session);
    fixture_tls_free(x.ssl);
    TEST_AWAIT(http_server_connections(f.server) == 0);
    g_string_free(x.body, TRUE);
    fixture_stop(&f);
}

/* Streams that are reset as fast as they are made. */
static void test_rapid_reset(void)
{
    Exchange x = {.body = g_string_new(NULL)};
    g_autoptr(GAsyncQueue) queue = g_async_queue_new();
    HttpOptions o = options();
    HttpRequest *r;
    Fixture f;
    int e = 0;

    o.context = queue;
    fixture_start(&f, &o);
    x.ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
    nghttp2_session *session = client_new(&x);
    for (int i = 0; i < 100000 && e == 0; i++) {
        submit(session, "GET", "/v1/held", NULL);
        e = nghttp2_session_send(session);
        if (e == 0)
            e = nghttp2_submit_rst_stream(session, 0, 2 * i + 1, NGHTTP2_CANCEL);
        if (e == 0)
            e = nghttp2_session_send(session);
    }
    g_assert_cmpint(e, !=, 0); /* the server has closed */
    nghttp2_session_del(session);
    fixture_tls_free(x.ssl);
    TEST_AWAIT(http_server_connections(f.server) == 0);
    while ((r = g_async_queue_try_pop(queue))) {
        g_assert_null(http_request_client(r));
        http_answer_empty(r, 204); /* too late */
        (void)http_request_unref(r);
    }
    g_string_free(x.body, TRUE);
    fixture_stop(&f);
}

static void test_too_many_connections(void)
{
    HttpOptions o = options();
    char buffer[16];
    Fixture f;

    o.connections = 1;
    fixture_start(&f, &o);
    SSL *ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
    int fd = fixture_connect(&f);
    g_assert_cmpint(read(fd, buffer, sizeof(buffer)), ==, 0);
    close(fd);
    fixture_tls_free(ssl);
    TEST_AWAIT(http_server_connections(f.server) == 0);
    ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
    g_assert_nonnull(ssl);
    fixture_tls_free(ssl);
    fixture_stop(&f);
}

typedef struct Fetch {
    const Fixture *fixture;
    Answer answer;
} Fetch;

static gpointer fetch_held(gpointer userdata)
{
    Fetch *x = userdata;

    fixture_fetch(x->fixture, NULL, "/v1/held", NULL, NULL, -1, &x->answer);
    return NULL;
}

static gpointer stop_server(gpointer userdata)
{
    http_server_stop(userdata);
    return NULL;
}

/* What is under way when the server ends is still answered; then nobody is let in any more. */
static void test_graceful_end(void)
{
    g_autoptr(GAsyncQueue) queue = g_async_queue_new();
    HttpOptions o = options();
    Fetch fetch = {0};
    Fixture f;

    o.context = queue;
    o.timeouts.grace = 200;
    fixture_start(&f, &o);
    fetch.fixture = &f;
    GThread *client = g_thread_new("client", fetch_held, &fetch);
    HttpRequest *r = g_async_queue_pop(queue);
    GThread *stop = g_thread_new("stop", stop_server, f.server);
    int late;
    TEST_AWAIT((late = fixture_connect(&f)) < 0 || (close(late), false));
    http_answer_empty(r, 204);
    (void)http_request_unref(r);
    g_thread_join(client);
    g_thread_join(stop);
    g_assert_cmpint(fetch.answer.status, ==, 204);
    answer_clear(&fetch.answer);
    g_assert_cmpuint(http_server_connections(f.server), ==, 0);
    fixture_stop(&f);
}

/* A request that nobody answers does not keep the server. */
static void test_hard_end(void)
{
    g_autoptr(GAsyncQueue) queue = g_async_queue_new();
    HttpOptions o = options();
    Fetch fetch = {0};
    Fixture f;

    o.context = queue;
    o.timeouts.grace = 1;
    fixture_start(&f, &o);
    fetch.fixture = &f;
    GThread *client = g_thread_new("client", fetch_held, &fetch);
    HttpRequest *r = g_async_queue_pop(queue);
    http_server_stop(f.server);
    g_thread_join(client);
    g_assert_cmpint(fetch.answer.status, <=, 0);
    answer_clear(&fetch.answer);
    http_answer_empty(r, 204);
    (void)http_request_unref(r);
    fixture_stop(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(curl_global_init(CURL_GLOBAL_DEFAULT), ==, 0);
    g_test_add_func("/server/http/tls", test_tls);
    g_test_add_func("/server/http/exporter", test_exporter);
    g_test_add_func("/server/http/timeouts", test_timeouts);
    g_test_add_func("/server/http/not-http2", test_not_http2);
    g_test_add_func("/server/http/slow-body", test_slow_body);
    g_test_add_func("/server/http/slow-header", test_slow_header);
    g_test_add_func("/server/http/floods", test_floods);
    g_test_add_func("/server/http/slower-body", test_slower_body);
    g_test_add_func("/server/http/slow-reader", test_slow_reader);
    g_test_add_func("/server/http/memory", test_memory);
    g_test_add_func("/server/http/made-reset", test_made_reset);
    g_test_add_func("/server/http/rapid-reset", test_rapid_reset);
    g_test_add_func("/server/http/too-many-connections", test_too_many_connections);
    g_test_add_func("/server/http/graceful-end", test_graceful_end);
    g_test_add_func("/server/http/hard-end", test_hard_end);
    return g_test_run();
}
