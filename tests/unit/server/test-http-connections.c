/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/http-server.h"
#include "tests/lib/process.h"
#include "tests/unit/server/http-fixture.h"

#define IDLE_MAX 10000u
#define DESCRIPTORS_BESIDES 100u
#define IDLE_MEMORY_MAX (64u * 1024u) /* bytes a connection */

static int hello_end(HttpRequest *r)
{
    http_answer_empty(r, 204);
    return 0;
}

static const HttpRoute routes[] = {{.method = "GET", .pattern = "/v1/hello", .end = hello_end}};

static HttpOptions options(void)
{
    return (HttpOptions){.routes = routes, .n_routes = G_N_ELEMENTS(routes)};
}

/* Those of one address; where a connection has ended another may come. */
static void test_too_many_of_an_address(void)
{
    HttpOptions o = options();
    char buffer[16];
    Fixture f;

    o.address_connections = 2;
    fixture_start(&f, &o);
    for (unsigned i = 0; i < 3; i++) {
        SSL *a = fixture_tls(&f, TLS1_3_VERSION, "\2h2"), *b = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
        g_assert_true(a && b);
        int fd = fixture_connect(&f);
        g_assert_cmpint(read(fd, buffer, sizeof(buffer)), ==, 0);
        close(fd);
        fixture_tls_free(a);
        fixture_tls_free(b);
        TEST_AWAIT(http_server_connections(f.server) == 0);
    }
    fixture_stop(&f);
}

static void expect_served(const Fixture *f)
{
    Answer a;

    fixture_fetch(f, NULL, "/v1/hello", NULL, NULL, -1, &a);
    g_assert_cmpint(a.status, ==, 204);
    answer_clear(&a);
}

/* Bytes of memory that this process has, statm of proc(5). */
static size_t resident(void)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents("/proc/self/statm", &text, NULL, NULL));
    g_auto(GStrv) fields = g_strsplit(text, " ", 3);
    return (size_t)g_ascii_strtoull(fields[1], NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

/* As many as there can be files for: both ends are in this process. */
static unsigned idle_count(void)
{
    struct rlimit limit;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    limit.rlim_cur = limit.rlim_max;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    g_assert_cmpuint(limit.rlim_cur, >, 2 * DESCRIPTORS_BESIDES);
    return (unsigned)MIN((limit.rlim_cur - DESCRIPTORS_BESIDES) / 2, (rlim_t)IDLE_MAX);
}

/* Clients that connect and say nothing: others are served, and no memory is held for what may come. */
static void test_idle(void)
{
    unsigned n = idle_count();
    g_autofree int *fds = g_new(int, n);
    HttpOptions o = options();
    Fixture f;

    o.connections = n + 10;
    o.timeouts = (HttpTimeouts){.handshake = 250};
    fixture_start(&f, &o);
    size_t before = resident();
    for (unsigned i = 0; i < n; i++) {
        fds[i] = fixture_connect(&f);
        g_assert_cmpint(fds[i], >=, 0);
    }
    TEST_AWAIT(http_server_connections(f.server) == n);
    g_test_message("%u connections, %zu bytes each", n, (resident() - before) / n);
    g_assert_cmpuint(resident() - before, <, (size_t)n * IDLE_MEMORY_MAX);
    expect_served(&f);
    for (unsigned i = 0; i < n; i++)
        close(fds[i]);
    TEST_AWAIT(http_server_connections(f.server) == 0);
    expect_served(&f);
    fixture_stop(&f);
}

#define BOMB_VALUE_SIZE 2900u
#define BOMB_FIELDS 10000u /* of one byte each, but the first */
#define FRAME_SIZE_MAX 16384u
#define FRAME_HEADERS 1

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value),
                        NGHTTP2_NV_FLAG_NONE};
}

/* A request whose fields are, but for one, references to that one: RFC 7541, 29 MB in one frame. */
static size_t write_bomb(uint8_t ret[static 9 + FRAME_SIZE_MAX])
{
    g_autofree char *value = g_strnfill(BOMB_VALUE_SIZE, 'x');
    g_autofree nghttp2_nv *fields = g_new(nghttp2_nv, BOMB_FIELDS + 4);
    nghttp2_hd_deflater *deflater = NULL;
    size_t n = 0;

    fields[n++] = field(":method", "GET");
    fields[n++] = field(":path", "/v1/hello");
    fields[n++] = field(":scheme", "https");
    fields[n++] = field(":authority", "relay");
    while (n < BOMB_FIELDS + 4)
        fields[n++] = field("x-bomb", value);
    g_assert_cmpint(nghttp2_hd_deflate_new(&deflater, 4096), ==, 0);
    ssize_t size = nghttp2_hd_deflate_hd(deflater, ret + 9, FRAME_SIZE_MAX, fields, n);
    g_assert_cmpint(size, >, 0);
    nghttp2_hd_deflate_del(deflater);
    const uint8_t head[9] = {(uint8_t)(size >> 16),
                             (uint8_t)(size >> 8),
                             (uint8_t)size,
                             FRAME_HEADERS,
                             0x5 /* END_STREAM, END_HEADERS */,
                             0,
                             0,
                             0,
                             1};
    memcpy(ret, head, sizeof(head));
    return 9 + (size_t)size;
}

/* Memory for what comes out of it is not taken, and the others are served. */
static void test_header_bomb(void)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    enum { BOMBS = 50 };
    uint8_t bomb[9 + FRAME_SIZE_MAX];
    size_t size = write_bomb(bomb);
    SSL *clients[BOMBS];
    HttpOptions o = options();
    Fixture f;

    fixture_start(&f, &o);
    expect_served(&f);
    size_t before = resident();
    for (unsigned i = 0; i < BOMBS; i++) {
        clients[i] = fixture_tls(&f, TLS1_3_VERSION, "\2h2");
        g_assert_nonnull(clients[i]);
        g_assert_cmpint(SSL_write(clients[i], preface, sizeof(preface) - 1), >, 0);
        g_assert_cmpint(SSL_write(clients[i], bomb, (int)size), ==, (int)size);
    }
    expect_served(&f);
    g_assert_cmpuint(resident() - MIN(before, resident()), <,
                     (size_t)BOMBS * BOMB_FIELDS * BOMB_VALUE_SIZE / 10);
    for (unsigned i = 0; i < BOMBS; i++)
        fixture_tls_free(clients[i]);
    TEST_AWAIT(http_server_connections(f.server) == 0);
    expect_served(&f);
    fixture_stop(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/http-connections/of-an-address", test_too_many_of_an_address);
    g_test_add_func("/http-connections/idle", test_idle);
    g_test_add_func("/http-connections/header-bomb", test_header_bomb);
    return g_test_run();
}
