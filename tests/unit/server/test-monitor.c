/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/monitor.h"

#include <errno.h>
#include <glib.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libhmsg/base/file.h"
#include "server/listen.h"
#include "tests/lib/process.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: relay\r\n\r\n"

typedef struct Fixture {
    sd_event *event;
    Monitor *monitor;
    uint16_t port;
} Fixture;

static unsigned answer(void *userdata, const char *path, Buf *body)
{
    g_assert_cmpint(buf_append_string(body, path), ==, 0);
    return strcmp(path, "/later") == 0 ? 503 : 200;
}

static void set_up(Fixture *f, gconstpointer data)
{
    int fd = -1;
    g_assert_cmpint(listen_open("127.0.0.1:0", &fd), ==, 0);
    g_assert_cmpint(listen_port(fd, &f->port), ==, 0);
    g_assert_cmpint(sd_event_new(&f->event), >=, 0);
    g_assert_cmpint(monitor_new(f->event, fd, answer, NULL, &f->monitor), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    f->monitor = monitor_free(f->monitor);
    f->event = sd_event_unref(f->event);
}

static void run_events(const Fixture *f)
{
    while (sd_event_run(f->event, 1000) > 0)
        continue;
}

static int connect_to(const Fixture *f)
{
    struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_port = g_htons(f->port), .sin_addr.s_addr = g_htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(connect(fd, (const struct sockaddr *)(const void *)&name, sizeof(name)), ==, 0);
    return fd;
}

/* What comes until the end; "": only that. */
static char *read_all(const Fixture *f, int fd)
{
    char buffer[8192] = "";
    size_t size = 0;
    ssize_t n = -1;
    while (n != 0 && size < sizeof(buffer) - 1) {
        run_events(f);
        n = recv(fd, buffer + size, sizeof(buffer) - 1 - size, MSG_DONTWAIT);
        if (n < 0 && errno == ECONNRESET)
            break;
        size += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    return g_strdup(buffer);
}

static char *fetch(const Fixture *f, const char *request)
{
    int fd = connect_to(f);
    g_assert_cmpint(send(fd, request, strlen(request), MSG_NOSIGNAL), ==, (ssize_t)strlen(request));
    return read_all(f, fd);
}

static void test_answers(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *request, *status, *part;
    } cases[] = {
        {GET("/metrics"), "HTTP/1.1 200 OK\r\n", "\r\n\r\n/metrics"},
        {GET("/later"), "HTTP/1.1 503 ", "Retry-After: 30\r\n"},
        {"POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 ", "Allow: GET\r\n"},
        {"GET metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "Content-Length: 0\r\n"},
        {"GET /metrics\r\n\r\n", "HTTP/1.1 400 ", ""},
        {"GET /metrics SPDY/1\r\n\r\n", "HTTP/1.1 400 ", ""},
        {"\r\n\r\n", "HTTP/1.1 405 ", ""},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = fetch(f, cases[i].request);
        g_assert_true(g_str_has_prefix(text, cases[i].status));
        g_assert_nonnull(strstr(text, cases[i].part));
    }
}

static void test_pieces(Fixture *f, gconstpointer data)
{
    int fd = connect_to(f);
    for (const char *p = GET("/a"); *p; p++) {
        run_events(f);
        g_assert_cmpint(send(fd, p, 1, MSG_NOSIGNAL), ==, 1);
    }
    g_autofree char *text = read_all(f, fd);
    g_assert_true(g_str_has_suffix(text, "\r\n\r\n/a"));
}

/* Requests that never end are cut off, and nothing is said. */
static void test_too_long(Fixture *f, gconstpointer data)
{
    g_autofree char *request = g_strnfill(2 * MONITOR_REQUEST_SIZE_MAX, 'a');
    g_autofree char *text = fetch(f, request);
    g_assert_cmpstr(text, ==, "");
}

/* Clients over the limit wait until others have left; who says nothing is sent away in his time. */
static void test_many(Fixture *f, gconstpointer data)
{
    int idle[MONITOR_CLIENTS_MAX];
    for (size_t i = 0; i < MONITOR_CLIENTS_MAX; i++) {
        idle[i] = connect_to(f);
        run_events(f);
    }
    gint64 begin = g_get_monotonic_time();
    g_autofree char *text = fetch(f, GET("/b"));
    g_assert_true(g_str_has_suffix(text, "/b"));
    g_assert_cmpint(g_get_monotonic_time() - begin, >=, MONITOR_TIMEOUT / 2);
    for (size_t i = 0; i < MONITOR_CLIENTS_MAX; i++)
        close(idle[i]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, t) g_test_add("/monitor/" name, Fixture, NULL, set_up, t, tear_down)
    ADD("answers", test_answers);
    ADD("pieces", test_pieces);
    ADD("too-long", test_too_long);
    ADD("many", test_many);
    return g_test_run();
}
