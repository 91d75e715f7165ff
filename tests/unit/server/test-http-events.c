/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <curl/curl.h>
#include <errno.h>
#include <string.h>

#include "server/http-server.h"
#include "tests/lib/process.h"
#include "tests/unit/server/http-fixture.h"

/* What the route tells the test. */
typedef struct Shared {
    GAsyncQueue *opened; /* HttpEvents, with a reference */
    int batches;         /* that more shall still push */
    int closed;
} Shared;

static void on_more(HttpEvents *e, void *userdata)
{
    Shared *s = userdata;

    if (s->batches == 0) {
        http_events_end(e);
        return;
    }
    s->batches--;
    g_assert_cmpint(http_events_push(e, "batch", "1"), ==, 0);
    g_assert_cmpint(http_events_push(e, "batch", "2"), ==, 0);
}

static void on_closed(HttpEvents *e, void *userdata)
{
    Shared *s = userdata;

    g_assert_cmpint(http_events_push(e, "late", "{}"), ==, -EPIPE);
    g_atomic_int_inc(&s->closed);
}

static int open_events(HttpRequest *r, void (*more)(HttpEvents *e, void *userdata))
{
    Shared *s = http_request_context(r);
    HttpEvents *e = NULL, *second = NULL;
    int x = http_answer_events(r, more, on_closed, s, &e);

    if (x < 0)
        return x;
    g_assert_true(http_events_request(e) == r);
    g_assert_cmpint(http_answer_events(r, more, on_closed, s, &second), ==, -EPIPE);
    g_assert_cmpint(http_events_push(e, "ready", "{}"), ==, 0);
    g_async_queue_push(s->opened, e);
    return 0;
}

static int events_end(HttpRequest *r)
{
    return open_events(r, NULL);
}

static int batches_end(HttpRequest *r)
{
    return open_events(r, on_more);
}

static const HttpRoute routes[] = {
    {.method = "GET", .pattern = "/v1/events", .end = events_end},
    {.method = "GET", .pattern = "/v1/batches", .end = batches_end},
};

typedef struct Listener {
    const Fixture *fixture;
    const char *path;
    GMutex lock;
    GString *text;
    int leave;
    GThread *thread;
    CURLcode code;
} Listener;

static size_t on_write(char *data, size_t size, size_t n, void *userdata)
{
    Listener *l = userdata;

    g_mutex_lock(&l->lock);
    g_string_append_len(l->text, data, (gssize)(size * n));
    g_mutex_unlock(&l->lock);
    return size * n;
}

static int on_progress(void *userdata, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    Listener *l = userdata;

    return g_atomic_int_get(&l->leave);
}

static gpointer listen_main(gpointer userdata)
{
    Listener *l = userdata;
    g_autofree char *url = g_strdup_printf("https://127.0.0.1:%d%s", l->fixture->port, l->path);
    CURL *curl = curl_easy_init();

    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, l);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, l);
    l->code = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    return NULL;
}

static void listener_start(Listener *l, const Fixture *f, const char *path)
{
    memset(l, 0, sizeof(*l));
    g_mutex_init(&l->lock);
    l->fixture = f;
    l->path = path;
    l->text = g_string_new(NULL);
    l->thread = g_thread_new("listener", listen_main, l);
}

static void listener_end(Listener *l)
{
    if (l->thread)
        g_thread_join(l->thread);
    g_string_free(l->text, TRUE);
    g_mutex_clear(&l->lock);
}

static bool heard(Listener *l, const char *text)
{
    g_mutex_lock(&l->lock);
    bool found = strstr(l->text->str, text);
    g_mutex_unlock(&l->lock);
    return found;
}

static void start(Fixture *f, Shared *s, HttpOptions *o)
{
    *s = (Shared){.opened = g_async_queue_new()};
    o->routes = routes;
    o->n_routes = G_N_ELEMENTS(routes);
    o->context = s;
    fixture_start(f, o);
}

static void test_push(void)
{
    HttpOptions o = {0};
    Listener l;
    Fixture f;
    Shared s;

    start(&f, &s, &o);
    listener_start(&l, &f, "/v1/events");
    HttpEvents *e = g_async_queue_pop(s.opened);
    TEST_AWAIT(heard(&l, "event: ready\ndata: {}\n\n"));
    for (int i = 0; i < 100; i++) {
        g_autofree char *text = g_strdup_printf("{\"seq\":%d}", i);
        g_autofree char *expected = g_strdup_printf("event: mail\ndata: {\"seq\":%d}\n\n", i);

        g_assert_cmpint(http_events_push(e, "mail", text), ==, 0);
        if (i % 10 == 0)
            TEST_AWAIT(heard(&l, expected));
    }
    TEST_AWAIT(heard(&l, "data: {\"seq\":99}\n\n"));
    g_assert_cmpint(g_atomic_int_get(&s.closed), ==, 0);

    /* the client leaves */
    g_atomic_int_set(&l.leave, 1);
    listener_end(&l);
    TEST_AWAIT(g_atomic_int_get(&s.closed) == 1);
    g_assert_cmpint(http_events_push(e, "mail", "{}"), ==, -EPIPE);
    (void)http_events_unref(e);
    fixture_stop(&f);
    g_async_queue_unref(s.opened);
}

/* A whole mailbox goes out in batches; then the handler ends the stream. */
static void test_batches(void)
{
    HttpOptions o = {0};
    Listener l;
    Fixture f;
    Shared s;

    start(&f, &s, &o);
    s.batches = 50;
    listener_start(&l, &f, "/v1/batches");
    HttpEvents *e = g_async_queue_pop(s.opened);
    g_thread_join(l.thread);
    l.thread = NULL;
    g_assert_cmpint(l.code, ==, CURLE_OK);
    g_assert_cmpuint(l.text->len, ==,
                     strlen("event: ready\ndata: {}\n\n") + 100 * strlen("event: batch\ndata: 1\n\n"));
    listener_end(&l);
    TEST_AWAIT(g_atomic_int_get(&s.closed) == 1);
    (void)http_events_unref(e);
    fixture_stop(&f);
    g_async_queue_unref(s.opened);
}

/* A client that does not read fills the stream, or what all clients have in memory, and is given up. */
static void listen_slowly(uint64_t memory, int expected)
{
    g_autofree char *data = g_strnfill(10000, 'x');
    HttpOptions o = {.timeouts.stall = 1, .memory = memory};
    Fixture f;
    Shared s;
    int r = 0;
    /* settings with a window of 0 bytes; a GET of /v1/events, the header without compression */
    static const char frames[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                 "\0\0\6\4\0\0\0\0\0"
                                 "\0\4\0\0\0\0"
                                 "\0\0\24\1\5\0\0\0\1"
                                 "\202\207\4\12/v1/events\1\4host";

    start(&f, &s, &o);
    SSL *ssl = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
    g_assert_cmpint(SSL_write(ssl, frames, sizeof(frames) - 1), >, 0);
    HttpEvents *e = g_async_queue_pop(s.opened);
    for (int i = 0; i < 100 && r == 0; i++)
        r = http_events_push(e, "mail", data);
    g_assert_cmpint(r, ==, expected);
    TEST_AWAIT(g_atomic_int_get(&s.closed) == 1);
    (void)http_events_unref(e);
    fixture_tls_free(ssl);
    fixture_stop(&f);
    g_async_queue_unref(s.opened);
}

static void test_slow_listener(void)
{
    listen_slowly(0, -ENOBUFS);
    listen_slowly(25000, -EPIPE);
}

static void test_keepalive(void)
{
    HttpOptions o = {.timeouts.keepalive = 1, .timeouts.idle = 1};
    Listener l;
    Fixture f;
    Shared s;

    start(&f, &s, &o);
    listener_start(&l, &f, "/v1/events");
    HttpEvents *e = g_async_queue_pop(s.opened);
    TEST_AWAIT(heard(&l, "event: ready\ndata: {}\n\n:\n\n:\n\n:\n\n")); /* not idle either */

    /* the end of the server is the end of the stream, not an error */
    http_server_stop(f.server);
    g_thread_join(l.thread);
    g_assert_cmpint(l.code, ==, CURLE_OK);
    g_assert_cmpint(g_atomic_int_get(&s.closed), ==, 1);
    l.thread = NULL;
    listener_end(&l);
    (void)http_events_unref(e);
    fixture_stop(&f);
    g_async_queue_unref(s.opened);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(curl_global_init(CURL_GLOBAL_DEFAULT), ==, 0);
    g_test_add_func("/server/events/push", test_push);
    g_test_add_func("/server/events/batches", test_batches);
    g_test_add_func("/server/events/slow-listener", test_slow_listener);
    g_test_add_func("/server/events/keepalive", test_keepalive);
    return g_test_run();
}
