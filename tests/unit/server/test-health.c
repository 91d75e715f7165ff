/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/health.h"

#include <string.h>

#include "libhmsg/base/clock.h"
#include "server/handlers.h"
#include "tests/lib/process.h"
#include "tests/unit/server/http-fixture.h"

static const HttpRoute routes[] = {{.method = "GET", .pattern = "/v1/hello"}};

static void test_answers(void)
{
    HttpOptions o = {.routes = routes, .n_routes = G_N_ELEMENTS(routes)};
    char *folder = test_folder_new(), proc[] = "/proc";
    Options options = {
        .data = folder, .attachment_size = 1 << 20, .mailbox_size = 1 << 20, .mailbox_messages = 9};
    _cleanup_(buf_done) Buf body = BUF_MAX(100000);
    Fixture f;
    fixture_start(&f, &o);
    Health h = {.server = f.server, .key = f.key, .key_made = 1234, .key_overdue = true};
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/health/answers", test_answers);
    return g_test_run();
}
