/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/file.h"
#include "libhmsg/wire/json.h"
#include "server/http.h"
#include "server/route.h"
#include "tests/lib/process.h"
#include "tests/unit/server/http-fixture.h"

#define FILE_SIZE (3u << 20)
#define COUNT_MAX (1u << 20)

static int hello_end(HttpRequest *r)
{
    const char *x = http_request_query(r, "x");
    json_t *j = json_object();

    g_assert_cmpint(json_put_text(j, "name", http_request_value(r, 0)), ==, 0);
    g_assert_cmpint(json_put_text(j, "x", x ? x : "none"), ==, 0);
    g_assert_cmpstr(http_request_method(r), ==, "GET");
    g_assert_cmpstr(http_request_context(r), ==, "the context");
    g_assert_null(http_request_value(r, 1));
    http_answer_json(r, 200, j);
    http_answer_empty(r, 204); /* the second one is dropped */
    json_decref(j);
    return 0;
}

static int echo_end(HttpRequest *r)
{
    static const char *const names[] = {"text", NULL};
    json_t *j = NULL;
    int e = http_request_json(r, names, &j);

    if (e != 0)
        return e;
    http_answer_json(r, 201, j);
    json_decref(j);
    return 0;
}

static int count_begin(HttpRequest *r)
{
    if (strcmp(http_request_value(r, 0), "nowhere") == 0)
        return PROBLEM_NOT_FOUND;
    if (strcmp(http_request_value(r, 0), "little") == 0)
        http_request_set_body_max(r, 10);
    http_request_set_data(r, g_new0(size_t, 1), g_free);
    return 0;
}

static int count_data(HttpRequest *r, const void *data, size_t n)
{
    size_t *count = http_request_data(r);

    *count += n;
    return 0;
}

static int count_end(HttpRequest *r)
{
    const size_t *count = http_request_data(r);
    Buf b = BUF_MAX(100);

    g_assert_cmpint(buf_printf(&b, "%zu", *count), ==, 0);
    http_answer_buf(r, 200, "text/plain", &b);
    return 0;
}

static GThread *later; /* has a request, which must be gone before the server is */

static gpointer answer_later(gpointer userdata)
{
    HttpRequest *r = userdata;

    http_answer_problem(r, PROBLEM_FULL, "in the other thread", 7);
    (void)http_request_unref(r);
    return NULL;
}

static int late_end(HttpRequest *r)
{
    later = g_thread_new("later", answer_later, http_request_ref(r));
    return 0;
}

static void posted(HttpRequest *r, void *userdata)
{
    g_assert_nonnull(http_request_client(r));
    g_assert_true(userdata == r);
    http_answer_empty(r, 204);
}

static int post_end(HttpRequest *r)
{
    return http_request_post(r, posted, r);
}

/* Ends after as many bytes as its userdata says. */
static ssize_t read_some(void *userdata, uint64_t offset, void *to, size_t n)
{
    uint64_t *left = userdata;

    if (n > *left)
        n = *left;
    memset(to, 'x', n);
    *left -= n;
    return (ssize_t)n;
}

static int source_of(HttpRequest *r, uint64_t size)
{
    uint64_t *left = g_new(uint64_t, 1);

    *left = size;
    http_answer_source(r, 200, "application/octet-stream", &(HttpSource){read_some, g_free, left}, FILE_SIZE);
    return 0;
}

static int file_end(HttpRequest *r)
{
    return source_of(r, FILE_SIZE);
}

static int short_end(HttpRequest *r)
{
    return source_of(r, FILE_SIZE / 2);
}

static int fail_end(HttpRequest *r)
{
    return -EINVAL;
}

static int exporter_end(HttpRequest *r)
{
    const Client *c = http_request_client(r);
    Buf b = BUF_MAX(100);
    char text[EXPORTER_SIZE * 2 + 1];

    hex_encode(c->exporter, EXPORTER_SIZE, text);
    g_assert_cmpint(buf_append_string(&b, text), ==, 0);
    g_assert_cmpint(c->peer.ss_family, ==, AF_INET);
    http_answer_buf(r, 200, "text/plain", &b);
    return 0;
}

static const HttpRoute routes[] = {
    {.method = "GET", .pattern = "/v1/hello/{name}", .end = hello_end},
    {.method = "POST", .pattern = "/v1/echo", .json = true, .body_max = 1000, .end = echo_end},
    {.method = "PUT",
     .pattern = "/v1/count/{what}",
     .body_max = COUNT_MAX,
     .begin = count_begin,
     .data = count_data,
     .end = count_end},
    {.method = "GET", .pattern = "/v1/late", .end = late_end},
    {.method = "GET", .pattern = "/v1/post", .end = post_end},
    {.method = "GET", .pattern = "/v1/file", .end = file_end},
    {.method = "GET", .pattern = "/v1/short", .end = short_end},
    {.method = "GET", .pattern = "/v1/fail", .end = fail_end},
    {.method = "GET", .pattern = "/v1/exporter", .end = exporter_end},
    {.method = "GET", .pattern = "/v1/secret", .login = true, .end = fail_end},
};

static const HttpOptions options = {
    .routes = routes, .n_routes = G_N_ELEMENTS(routes), .context = (void *)(uintptr_t) "the context"};

static void expect(const Fixture *f, const char *method, const char *path, const char *type, const char *body,
                   int status, const char *text)
{
    Answer a;

    fixture_fetch(f, method, path, type, body, -1, &a);
    g_assert_cmpint(a.status, ==, status);
    g_assert_cmpstr(a.body->str, ==, text);
    answer_clear(&a);
}

static void test_answers(void)
{
    Fixture f;
    Answer a;

    fixture_start(&f, &options);
    expect(&f, NULL, "/v1/hello/bob", NULL, NULL, 200, "{\"name\":\"bob\",\"x\":\"none\"}");
    expect(&f, NULL, "/v1/hello/b%2fo%20b?x=1%26+2&y=", NULL, NULL, 200,
           "{\"name\":\"b/o b\",\"x\":\"1&+2\"}");
    expect(&f, "POST", "/v1/echo", "application/json", "{\"text\":\"a\"}", 201, "{\"text\":\"a\"}");
    expect(&f, "POST", "/v1/echo", "application/json; charset=utf-8", "{}", 201, "{}");
    expect(&f, "POST", "/v1/echo", NULL, NULL, 201, "{}");
    expect(&f, NULL, "/v1/post", NULL, NULL, 204, "");

    fixture_fetch(&f, NULL, "/v1/file", NULL, NULL, -1, &a);
    g_assert_cmpint(a.status, ==, 200);
    g_assert_cmpuint(a.body->len, ==, FILE_SIZE);
    g_assert_nonnull(strstr(a.headers->str, "content-length: 3145728"));
    answer_clear(&a);
    /* what cannot be read to its end is not taken for the whole */
    fixture_fetch(&f, NULL, "/v1/short", NULL, NULL, -1, &a);
    g_assert_cmpint(a.status, ==, 200);
    g_assert_cmpuint(a.body->len, <=, FILE_SIZE / 2);
    answer_clear(&a);

    fixture_fetch(&f, NULL, "/v1/late", NULL, NULL, -1, &a);
    g_assert_cmpint(a.status, ==, 507);
    g_assert_nonnull(strstr(a.headers->str, "retry-after: 7"));
    g_assert_nonnull(strstr(a.body->str, "in the other thread"));
    answer_clear(&a);
    (void)g_thread_join(later);
    fixture_stop(&f);
}

static void test_problems(void)
{
    g_autofree char *long_body = g_strnfill(900, 'x');
    g_autofree char *huge_body = g_strnfill(COUNT_MAX + 1, 'x');
    Fixture f;
    Answer a;

    fixture_start(&f, &options);
    fixture_expect_problem(&f, NULL, "/", NULL, NULL, -1, 404, "not-found");
    fixture_expect_problem(&f, NULL, "/v1/hello/", NULL, NULL, -1, 404, "not-found");
    fixture_expect_problem(&f, NULL, "/v1/hello/a/b", NULL, NULL, -1, 404, "not-found");
    fixture_expect_problem(&f, NULL, "/v1/../v1/fail", NULL, NULL, -1, 404, "not-found");
    fixture_expect_problem(&f, NULL, "/v1/hello/%0", NULL, NULL, -1, 400, "bad-request");
    fixture_expect_problem(&f, NULL, "/v1/hello/%00", NULL, NULL, -1, 400, "bad-request");
    fixture_expect_problem(&f, NULL, "/v1/hello/a?x=1&x=2", NULL, NULL, -1, 400, "bad-request");
    fixture_expect_problem(&f, NULL, "/v1/secret", NULL, NULL, -1, 401, "login-required");
    fixture_expect_problem(&f, NULL, "/v1/fail", NULL, NULL, -1, 500, "internal");
    fixture_expect_problem(&f, "DELETE", "/v1/fail", NULL, NULL, -1, 405, "method-not-allowed");
    fixture_expect_problem(&f, "VERYLONGMETHOD", "/v1/fail", NULL, NULL, -1, 405, "method-not-allowed");
    fixture_expect_problem(&f, "POST", "/v1/echo", "text/plain", "{}", -1, 415, "unsupported-media-type");
    fixture_expect_problem(&f, "POST", "/v1/echo", "application/jsonp", "{}", -1, 415,
                           "unsupported-media-type");
    fixture_expect_problem(&f, "POST", "/v1/echo", "application/json", "{\"other\":1}", -1, 400,
                           "bad-request");
    fixture_expect_problem(&f, "POST", "/v1/echo", "application/json", "{\"text\":1,\"text\":1}", -1, 400,
                           "bad-request");
    fixture_expect_problem(&f, "POST", "/v1/echo", "application/json", long_body, -1, 400, "bad-request");
    fixture_expect_problem(&f, "POST", "/v1/echo", "application/json", huge_body, -1, 413, "too-large");
    fixture_expect_problem(&f, "PUT", "/v1/count/little", NULL, "12345678901", -1, 413, "too-large");
    fixture_expect_problem(&f, "PUT", "/v1/count/nowhere", NULL, huge_body, -1, 404, "not-found");
    /* without a length: told only when the limit is passed */
    fixture_expect_problem(&f, "PUT", "/v1/count/much", NULL, huge_body, -2, 413, "too-large");

    huge_body[COUNT_MAX] = '\0';
    expect(&f, "PUT", "/v1/count/much", NULL, huge_body, 200, "1048576");
    expect(&f, "PUT", "/v1/count/little", NULL, "1234567890", 200, "10");

    fixture_fetch(&f, "DELETE", "/v1/echo", NULL, NULL, -1, &a);
    g_assert_nonnull(strstr(a.headers->str, "allow: POST"));
    answer_clear(&a);
    fixture_stop(&f);
}

/* More header fields than the server says that it takes. */
static void test_large_headers(void)
{
    g_autofree char *value = g_strnfill(HTTP_HEADERS_SIZE_MAX, 'v');
    g_autofree char *path = g_strnfill(TARGET_SIZE_MAX + 1, 'p');
    Fixture f;

    path[0] = '/';
    fixture_start(&f, &options);
    fixture_expect_problem(&f, NULL, "/v1/fail", value, NULL, -1, 400, "bad-request");
    fixture_expect_problem(&f, NULL, path, NULL, NULL, -1, 400, "bad-request");
    expect(&f, NULL, "/v1/post", NULL, NULL, 204, "");
    fixture_stop(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(curl_global_init(CURL_GLOBAL_DEFAULT), ==, 0);
    g_test_add_func("/server/http/answers", test_answers);
    g_test_add_func("/server/http/problems", test_problems);
    g_test_add_func("/server/http/large-headers", test_large_headers);
    return g_test_run();
}
