/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Many clients that have asked something once, over TLS, and then only stay: the relay's memory is bounded,
 * and others are served. 1000 of them, or as many as HMSG_IDLE says. */

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/bench/relay-client.h"

#define CLIENTS 1000u
#define DESCRIPTORS_BESIDES 300u /* that are not connections, of the relay and of us */
/* Bytes of one: 35 KiB are measured, 40 KiB are meant; the sanitizer's own come on top. */
#ifdef __SANITIZE_ADDRESS__
#define MEMORY_MAX (400u << 10)
#else
#define MEMORY_MAX (44u << 10)
#endif

static size_t resident(const BenchRelay *b)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/statm", test_process_pid(b->process));
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_auto(GStrv) fields = g_strsplit(text, " ", 3);
    return (size_t)g_ascii_strtoull(fields[1], NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

/* As many as were asked for, and as files may be open. */
static unsigned client_count(void)
{
    const char *text = g_getenv("HMSG_IDLE");
    unsigned n = text ? (unsigned)g_ascii_strtoull(text, NULL, 10) : CLIENTS;
    struct rlimit limit;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    limit.rlim_cur = limit.rlim_max;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    g_assert_cmpuint(limit.rlim_cur, >, DESCRIPTORS_BESIDES);
    return (unsigned)MIN((rlim_t)n, limit.rlim_cur - DESCRIPTORS_BESIDES);
}

static void call(H2 *h)
{
    json_t *j = bench_relay_call(h, "GET", "/v1/relay", NULL, 200);

    g_assert_nonnull(json_object_get(j, "relay"));
    json_decref(j);
}

static H2 *come(const BenchRelay *b)
{
    H2 *h = h2_connect(b->host, b->port);

    call(h);
    return h;
}

static void test_idle(void)
{
    const unsigned n = client_count();
    g_autofree H2 **clients = g_new(H2 *, n);
    BenchRelay b = {.folder = test_folder_new()};

    bench_relay_start(&b, "[limits]\nconnections-per-address = 0\nconnections = 10100\n");
    h2_close(come(&b));
    size_t before = resident(&b);
    for (unsigned i = 0; i < n; i++)
        clients[i] = come(&b);
    size_t each = (resident(&b) - before) / n;
    g_test_message("%u clients, %zu bytes each", n, each);
    g_assert_cmpuint(each, <, MEMORY_MAX);
    h2_close(come(&b));
    /* each of them is still there */
    for (unsigned i = 0; i < n; i += n / 10)
        call(clients[i]);
    for (unsigned i = 0; i < n; i++)
        h2_close(clients[i]);
    h2_close(come(&b));
    (void)bench_relay_stop(&b);
    test_folder_remove(b.folder);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/idle/clients", test_idle);
    return g_test_run();
}
