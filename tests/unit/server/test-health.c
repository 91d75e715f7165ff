/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/health.h"

#include <string.h>

#include "libhmsg/base/clock.h"
#include "server/handlers.h"
#include "tests/lib/process.h"
#include "tests/unit/server/http-fixture.h"

/* Keeps the loop itself as long as the test has the lock. */
static int stuck_end(HttpRequest *r)
{
    GMutex *lock = http_request_context(r);
    g_mutex_lock(lock);
    g_mutex_unlock(lock);
    http_answer_empty(r, 204);
    return 0;
}

static const HttpRoute routes[] = {
    {.method = "GET", .pattern = "/v1/hello"},
    {.method = "GET", .pattern = "/v1/stuck", .end = stuck_end},
};

static void test_answers(void)
{
    HttpOptions o = {.routes = routes, .n_routes = G_N_ELEMENTS(routes)};
    char *folder = test_folder_new(), proc[] = "/proc";
    Options options = {
        .data = folder, .attachment_size = 1 << 20, .mailbox_size = 1 << 20, .mailbox_messages = 9};
    _cleanup_(buf_done) Buf body = BUF_MAX(100000);
    Fixture f;
    fixture_start(&f, &o);
    Health h = {
        .server = f.server, .key = f.key, .key_made = 1234, .key_overdue = true, .silence_max = UINT64_MAX};
    g_assert_cmpint(handlers_new(&options, f.key, 1, 0, &h.handlers), ==, 0);
    /* without a key that signs receipts it cannot prove what it takes */
    g_assert_cmpuint(health_answer(&h, "/readyz", &body), ==, 503);
    buf_clear(&body);
    g_assert_cmpint(relay_key_renew(f.key, clock_realtime()), ==, 0);
    g_assert_cmpuint(health_answer(&h, "/readyz", &body), ==, 200);
    g_assert_cmpstr(buf_text(&body), ==, "ready\n");
    buf_clear(&body);
    g_assert_cmpuint(health_answer(&h, "/healthz", &body), ==, 200);
    buf_clear(&body);
    g_assert_cmpuint(health_answer(&h, "/", &body), ==, 404);
    g_assert_cmpuint(body.size, ==, 0);
    fixture_expect_problem(&f, NULL, "/v1/none", NULL, NULL, -1, 404, "not-found");
    g_assert_cmpuint(health_answer(&h, "/metrics", &body), ==, 200);
    g_assert_nonnull(strstr(buf_text(&body), "# TYPE hmsg_relay_mailboxes gauge\nhmsg_relay_mailboxes 0\n"));
    g_assert_nonnull(strstr(buf_text(&body), "\nhmsg_relay_store_key_pending 0\n"));
    g_assert_null(strstr(buf_text(&body), "\nhmsg_relay_store_key_created_timestamp_seconds 0\n"));
    g_assert_nonnull(strstr(buf_text(&body), "\nhmsg_relay_answers_total{status=\"404\"} 1\n"));
    g_assert_nonnull(strstr(buf_text(&body), "\nhmsg_relay_identity_key_created_timestamp_seconds 1234\n"));
    g_assert_nonnull(strstr(buf_text(&body), "\nhmsg_relay_identity_key_overdue 1\n"));
    g_assert_nonnull(strstr(buf_text(&body), "\nhmsg_relay_identity_key_announced_timestamp_seconds 0\n"));
    g_assert_nonnull(strstr(buf_text(&body), "# TYPE hmsg_relay_disk_free_bytes gauge\n"));
    g_assert_nonnull(strstr(buf_text(&body), "\nhmsg_relay_clock_held 0\n"));
    g_assert_nonnull(strstr(buf_text(&body), "# TYPE hmsg_relay_accepted_messages_total counter\n"));
    g_assert_nonnull(strstr(buf_text(&body), "\nhmsg_relay_expired_messages_total 0\n"));
    buf_clear(&body);
    /* a disk that has nothing free */
    options.data = proc;
    g_assert_cmpuint(health_answer(&h, "/readyz", &body), ==, 503);
    g_assert_cmpstr(buf_text(&body), ==, "the disk is full\n");
    buf_clear(&body);
    g_assert_cmpuint(health_answer(&h, "/metrics", &body), ==, 200);
    g_assert_nonnull(strstr(buf_text(&body), "\nhmsg_relay_disk_free_bytes 0\n"));
    /* that of a database is not the relay's to know */
    options.store = STORE_POSTGRES;
    buf_clear(&body);
    g_assert_cmpuint(health_answer(&h, "/readyz", &body), ==, 200);
    h.handlers = handlers_free(h.handlers);
    fixture_stop(&f);
    test_folder_remove(folder);
}

static gpointer fetch_stuck(gpointer fixture)
{
    Answer a;
    fixture_fetch(fixture, NULL, "/v1/stuck", NULL, NULL, -1, &a);
    g_assert_cmpint(a.status, ==, 204);
    answer_clear(&a);
    return NULL;
}

static unsigned alive(Health *h)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(100);
    return health_answer(h, "/healthz", &body);
}

/* One thread that stands still is seen, though the others go on. */
static void test_stuck(void)
{
    GMutex lock;
    HttpOptions o = {.routes = routes, .n_routes = G_N_ELEMENTS(routes), .context = &lock};
    Fixture f;
    g_mutex_init(&lock);
    fixture_start(&f, &o);
    Health h = {.server = f.server, .silence_max = 3000000};
    TEST_AWAIT(http_server_silence(f.server, clock_boottime()) < h.silence_max && alive(&h) == 200);
    g_mutex_lock(&lock);
    GThread *client = g_thread_new("client", fetch_stuck, &f);
    TEST_AWAIT(alive(&h) == 503);
    const uint64_t silence = http_server_silence(f.server, clock_boottime());
    g_assert_cmpuint(silence, >, h.silence_max);
    /* for good, not because the machine is slow */
    TEST_AWAIT(http_server_silence(f.server, clock_boottime()) > 2 * silence);
    g_mutex_unlock(&lock);
    g_thread_join(client);
    TEST_AWAIT(alive(&h) == 200);
    fixture_stop(&f);
    g_mutex_clear(&lock);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/health/answers", test_answers);
    g_test_add_func("/health/stuck", test_stuck);
    return g_test_run();
}
