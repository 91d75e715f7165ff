/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <signal.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/daemon.h"
#include "tests/lib/process.h"
#include "tests/unit/server/http-fixture.h"

typedef struct Place {
    char *folder, *relay, *config, *address;
} Place;

static char *program(void)
{
    return g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
}

static Place place_new(void)
{
    Place p = {.folder = test_folder_new()};
    g_autofree char *relay = program();

    p.relay = g_build_filename(p.folder, "relay", NULL);
    p.config = g_build_filename(p.relay, "relay.conf", NULL);
    p.address = g_build_filename(p.relay, "data", "address", NULL);
    const char *const argv[] = {relay,      "init",        "--host", "127.0.0.1",
                                "--listen", "127.0.0.1:0", p.relay,  NULL};
    g_assert_cmpint(test_run(argv, NULL, NULL, NULL, NULL), ==, 0);
    return p;
}

static void place_done(Place *p)
{
    test_folder_remove(p->folder);
    g_free(p->relay);
    g_free(p->config);
    g_free(p->address);
}

static TestProcess *start(const Place *p, const char *environment)
{
    g_autofree char *relay = program();
    const char *const argv[] = {relay, "serve", "--config", p->config, NULL};
    const char *const variables[] = {environment, NULL};

    return test_process_start(argv, variables, NULL);
}

/* The port that it says it listens on. */
static int await_address(const Place *p)
{
    g_autofree char *text = NULL;

    TEST_AWAIT(g_file_get_contents(p->address, &text, NULL, NULL));
    g_assert_true(g_regex_match_simple("^127\\.0\\.0\\.1:[0-9]+#[A-Za-z0-9_-]{43}\n$", text,
                                       G_REGEX_DOLLAR_ENDONLY, 0));
    return (int)g_ascii_strtoull(text + strlen("127.0.0.1:"), NULL, 10);
}

static void expect_answer(int port)
{
    const Fixture f = {.port = port};
    Answer a;

    fixture_fetch(&f, NULL, "/v1/relay", NULL, NULL, -1, &a);
    g_assert_cmpint(a.status, ==, 200);
    g_assert_nonnull(strstr(a.body->str, "\"relay\""));
    answer_clear(&a);
    fixture_expect_problem(&f, NULL, "/v1/mailbox/messages", NULL, NULL, -1, 401, "login-required");
}

/* By the relay that serves: the store is its own. */
static void expect_administration(const Place *p)
{
    g_autofree char *relay = program(), *out = NULL;
    const char *const create[] = {relay, "invite", "create", "--json", "--config", p->config, NULL};
    const char *const list[] = {relay, "client", "list", "--config", p->config, NULL};
    const char *const block[] = {relay, "client", "block", "nobody@127.0.0.1", "--config", p->config, NULL};
    g_assert_cmpint(test_run(create, NULL, NULL, &out, NULL), ==, 0);
    g_assert_nonnull(strstr(out, "\"code\":\""));
    g_assert_cmpint(test_run(list, NULL, NULL, NULL, NULL), ==, 0);
    g_assert_cmpint(test_run(block, NULL, NULL, NULL, NULL), ==, 1);
}

static void test_serve(void)
{
    Place p = place_new();
    TestProcess *relay = start(&p, NULL);

    expect_answer(await_address(&p));
    int status = test_process_stop(relay);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
    g_assert_false(g_file_test(p.address, G_FILE_TEST_EXISTS));

    relay = start(&p, NULL); /* again, on what it left */
    expect_answer(await_address(&p));

    TestProcess *second = start(&p, NULL); /* two of them cannot have one store */
    status = test_process_wait(second);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
    expect_answer(await_address(&p));

    test_process_signal(relay, SIGKILL);
    (void)test_process_wait(relay);
    g_assert_cmpint(g_unlink(p.address), ==, 0);
    relay = start(&p, NULL);
    expect_answer(await_address(&p));
    expect_administration(&p);
    (void)test_process_stop(relay);
    place_done(&p);
}

static void expect_notice(int fd, const char *expected)
{
    char text[1024];
    ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

    g_assert_cmpint(n, >, 0);
    text[n] = '\0';
    g_assert_cmpstr(text, ==, expected);
}

static void test_notify(void)
{
    Place p = place_new();
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)g_snprintf(name.sun_path, sizeof(name.sun_path), "%s/notify", p.folder);
    g_assert_cmpint(bind(fd, (const struct sockaddr *)&name, sizeof(name)), ==, 0);
    g_autofree char *variable = g_strdup_printf("NOTIFY_SOCKET=%s", name.sun_path);
    /* so rarely that none comes in between */
    g_setenv("WATCHDOG_USEC", "1000000000000", TRUE);
    TestProcess *relay = start(&p, variable);
    expect_notice(fd, "READY=1");
    expect_answer(await_address(&p));
    test_process_signal(relay, SIGHUP);
    char text[256] = "";
    g_assert_cmpint(recv(fd, text, sizeof(text) - 1, 0), >, 0);
    g_assert_true(g_regex_match_simple("^RELOADING=1\nMONOTONIC_USEC=[0-9]+$", text, 0, 0));
    expect_notice(fd, "READY=1");
    (void)test_process_stop(relay);
    expect_notice(fd, "STOPPING=1");
    g_setenv("WATCHDOG_USEC", "2000000", TRUE);
    relay = start(&p, variable);
    expect_notice(fd, "READY=1");
    for (unsigned i = 0; i < 3; i++)
        expect_notice(fd, "WATCHDOG=1");
    (void)test_process_stop(relay);
    g_unsetenv("WATCHDOG_USEC");
    close(fd);
    place_done(&p);
}

static char *ask(int port, const char *path)
{
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = g_htons((guint16)port),
                               .sin_addr.s_addr = g_htonl(INADDR_LOOPBACK)};
    g_autofree char *request = g_strdup_printf("GET %s HTTP/1.1\r\n\r\n", path);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char text[16384] = "";
    size_t size = 0;
    ssize_t n;

    g_assert_cmpint(connect(fd, (const struct sockaddr *)(const void *)&name, sizeof(name)), ==, 0);
    g_assert_cmpint(write(fd, request, strlen(request)), ==, (ssize_t)strlen(request));
    while ((n = read(fd, text + size, sizeof(text) - 1 - size)) > 0)
        size += (size_t)n;
    close(fd);
    return g_strdup(text);
}

static void append_config(const Place *p, const char *more)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(p->config, &text, NULL, NULL));
    g_autofree char *all = g_strconcat(text, more, NULL);
    g_assert_true(g_file_set_contents(p->config, all, -1, NULL));
}

static bool log_has(const char *path, const char *part)
{
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) && strstr(text, part);
}

/* Whoever looks after it sees how it is, and that a request was refused. */
static void test_monitor(void)
{
    Place p = place_new();
    g_autofree char *relay = program(), *log = g_build_filename(p.folder, "log", NULL), *text = NULL;
    const char *const argv[] = {relay, "serve", "--config", p.config, NULL};

    g_autofree char *key = g_build_filename(p.folder, "relay", "identity.pem", NULL);
    const struct timespec long_ago[] = {{1000000000, 0}, {1000000000, 0}};

    append_config(&p, "\n[monitor]\nlisten = 127.0.0.1:0\n");
    g_assert_cmpint(utimensat(AT_FDCWD, key, long_ago, 0), ==, 0);
    TestProcess *process = test_process_start(argv, NULL, log);
    expect_answer(await_address(&p));
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    g_assert_nonnull(strstr(text, " days old: change it"));
    const char *found = strstr(text, "Monitoring on port ");
    g_assert_nonnull(found);
    int port = (int)g_ascii_strtoull(found + strlen("Monitoring on port "), NULL, 10);
    static const struct {
        const char *path, *status, *part;
    } cases[] = {
        {"/healthz", "HTTP/1.1 200 ", "\r\n\r\nok\n"},
        {"/readyz", "HTTP/1.1 200 ", "\r\n\r\nready\n"},
        {"/metrics", "HTTP/1.1 200 ", "\nhmsg_relay_answers_total{status=\"401\"} 1\n"},
        {"/metrics", "HTTP/1.1 200 ", "\nhmsg_relay_messages 0\n"},
        {"/metrics", "HTTP/1.1 200 ", "\nhmsg_relay_identity_key_created_timestamp_seconds 1000000000\n"},
        {"/metrics", "HTTP/1.1 200 ", "\nhmsg_relay_identity_key_overdue 1\n"},
        {"/v1/relay", "HTTP/1.1 404 ", ""},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *answer = ask(port, cases[i].path);
        g_assert_true(g_str_has_prefix(answer, cases[i].status));
        g_assert_nonnull(strstr(answer, cases[i].part));
    }
    (void)test_process_stop(process);
    place_done(&p);
}

/* A machine that comes up with a clock far ahead of when the relay ran last: who runs it is told. */
static void test_clock(void)
{
    Place p = place_new();
    g_autofree char *relay = program(), *log = g_build_filename(p.folder, "log", NULL);
    g_autofree char *ticks = g_build_filename(p.relay, "data", "ticks", NULL);
    const char *const argv[] = {relay, "serve", "--config", p.config, NULL};
    const struct timespec long_ago[] = {{1000000000, 0}, {1000000000, 0}};

    for (unsigned i = 0; i < 4; i++) {
        TestProcess *process = test_process_start(argv, NULL, log);
        expect_answer(await_address(&p));
        (void)test_process_stop(process);
        /* it knows that it does not know until somebody has looked */
        g_assert_true(log_has(log, "s further than it can be known to be") == (i == 1 || i == 2));
        g_assert_cmpint(g_unlink(log), ==, 0);
        if (i != 1)
            g_assert_cmpint(utimensat(AT_FDCWD, ticks, i == 0 ? long_ago : NULL, 0), ==, 0);
    }
    place_done(&p);
}

/* The number behind text in a log. */
static int port_of(const char *log, const char *text)
{
    g_autofree char *all = NULL;
    const char *found = NULL;

    if (g_file_get_contents(log, &all, NULL, NULL))
        found = strstr(all, text);
    return found ? (int)g_ascii_strtoull(found + strlen(text), NULL, 10) : 0;
}

/* Where the disk has not one byte left it starts as well: only what is fetched and acknowledged makes room.
 */
static void test_full_disk(void)
{
    static const char script[] = "mount -t tmpfs -o size=40m none \"$2\" || exit 77\n"
                                 "\"$0\" serve --config \"$1\" & while [ ! -s \"$2/address\" ]; do :; done\n"
                                 "kill -KILL $!; wait\n"
                                 "rm \"$2/address\"; echo full >&2; cat /dev/zero > \"$2/fill\"\n"
                                 "exec \"$0\" serve --config \"$1\" 2> \"$3\"";
    Place p = place_new();
    g_autofree char *relay = program(), *data = g_build_filename(p.relay, "data", NULL);
    g_autofree char *first = g_build_filename(p.folder, "first", NULL);
    g_autofree char *log = g_build_filename(p.folder, "log", NULL);
    const char *const argv[] = {"unshare", "--mount", "sh", "-c", script, relay, p.config, data, log, NULL};

    append_config(&p, "\n[monitor]\nlisten = 127.0.0.1:0\n");
    g_assert_cmpint(g_mkdir_with_parents(data, 0700), ==, 0);
    TestProcess *process = test_process_start(argv, NULL, first);
    TEST_AWAIT(!test_process_runs(process) || log_has(log, "Serving 127.0.0.1:"));
    if (!test_process_runs(process) && !log_has(first, "full")) {
        g_test_skip("no file system may be mounted here");
        (void)test_process_wait(process);
        place_done(&p);
        return;
    }
    TEST_AWAIT(log_has(log, "/address: No space left on device"));
    g_assert_true(log_has(log, "/ticks: No space left on device"));
    expect_answer(port_of(log, "Serving 127.0.0.1:"));
    g_autofree char *health = ask(port_of(log, "Monitoring on port "), "/healthz");
    g_autofree char *ready = ask(port_of(log, "Monitoring on port "), "/readyz");
    g_assert_true(g_str_has_prefix(health, "HTTP/1.1 200 "));
    g_assert_true(g_str_has_prefix(ready, "HTTP/1.1 503 "));
    g_assert_nonnull(strstr(ready, "the disk is full"));
    int status = test_process_stop(process);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
    place_done(&p);
}

/* SIGHUP reads the configuration again; what is wrong is told, and changes nothing. */
static void test_reload(void)
{
    Place p = place_new();
    g_autofree char *relay = program(), *log = g_build_filename(p.folder, "log", NULL);
    const char *const argv[] = {relay, "serve", "--config", p.config, NULL};
    TestProcess *process = test_process_start(argv, NULL, log);

    expect_answer(await_address(&p));
    append_config(&p, "\n[limits]\nsender-rate = 7\n");
    test_process_signal(process, SIGHUP);
    TEST_AWAIT(log_has(log, "Took over"));
    append_config(&p, "nonsense = 1\n");
    test_process_signal(process, SIGHUP);
    TEST_AWAIT(log_has(log, "no such setting"));
    expect_answer(await_address(&p));
    int status = test_process_stop(process);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
    place_done(&p);
}

/* The key's memory is locked, and there will be no core file. */
static void test_hardened(void)
{
    Place p = place_new();
    TestProcess *relay = start(&p, NULL);
    g_autofree char *path = g_strdup_printf("/proc/%d/status", test_process_pid(relay));
    g_autofree char *limits = g_strdup_printf("/proc/%d/limits", test_process_pid(relay));
    g_autofree char *text = NULL;

    (void)await_address(&p);
    g_assert_true(g_file_get_contents(limits, &text, NULL, NULL));
    g_assert_true(g_regex_match_simple("^Max core file size +0 ", text, G_REGEX_MULTILINE, 0));
    g_free(text);
    text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_true(g_regex_match_simple("^VmLck:\\s+[1-9]", text, G_REGEX_MULTILINE, 0));
    (void)test_process_stop(relay);
    place_done(&p);
}

/* What it may have open it divides: connections leave enough to store messages. */
static void test_few_files(void)
{
    Place p = place_new();
    g_autofree char *relay = program();
    g_autofree char *log = g_build_filename(p.folder, "log", NULL);
    g_autofree char *text = NULL;
    const char *const argv[] = {"sh",  "-c",     "ulimit -n 258 && exec \"$0\" serve --config \"$1\"",
                                relay, p.config, NULL};
    char buffer[16];

    TestProcess *process = test_process_start(argv, NULL, log);
    const Fixture f = {.port = await_address(&p)};
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    g_assert_nonnull(strstr(text, "2 connections at a time"));
    int first = fixture_connect(&f), second = fixture_connect(&f), third = fixture_connect(&f);
    g_assert_cmpint(read(third, buffer, sizeof(buffer)), <=, 0); /* closed, not kept waiting */
    close(first);
    close(second);
    close(third);
    TEST_AWAIT((first = fixture_connect(&f)) >= 0 && close(first) == 0);
    (void)test_process_stop(process);
    place_done(&p);
}

/* Told at start, not at the first request. */
/* Or a zombie, which whoever it was left to has not seen yet. */
static bool is_gone(int pid)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/stat", pid), *text = NULL;

    return !g_file_get_contents(name, &text, NULL, NULL) || strstr(text, ") Z ");
}

/* Without the process that has the key, the relay ends, for systemd to start it again; and that process does
 * not stay behind when the relay is killed. */
static void test_holder(void)
{
    Place p = place_new();
    g_autofree char *relay = program();
    g_autofree char *log = g_build_filename(p.folder, "log", NULL);
    const char *const argv[] = {relay, "serve", "--config", p.config, NULL};

    for (unsigned i = 0; i < 2; i++) {
        TestProcess *process = test_process_start(argv, NULL, log);
        (void)await_address(&p);
        int pid = test_process_pid(process);
        g_autofree char *name = g_strdup_printf("/proc/%d/task/%d/children", pid, pid), *children = NULL;
        g_assert_true(g_file_get_contents(name, &children, NULL, NULL));
        int holder = (int)g_ascii_strtoll(children, NULL, 10);
        g_assert_cmpint(holder, >, 0);
        g_assert_cmpint(kill(i == 0 ? holder : pid, SIGKILL), ==, 0);
        int status = test_process_wait(process);
        if (i == 0)
            g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        TEST_AWAIT(is_gone(holder));
    }
    place_done(&p);
}

static void test_bad_config(void)
{
    Place p = place_new();

    g_assert_true(
        g_file_set_contents(p.config, "[relay]\nhost = 127.0.0.1\nlisten = 192.0.2.1:1\n", -1, NULL));
    int status = test_process_wait(start(&p, NULL));
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
    g_assert_false(g_file_test(p.address, G_FILE_TEST_EXISTS));
    place_done(&p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/daemon/serve", test_serve);
    g_test_add_func("/server/daemon/notify", test_notify);
    g_test_add_func("/server/daemon/monitor", test_monitor);
    g_test_add_func("/server/daemon/clock", test_clock);
    g_test_add_func("/server/daemon/full-disk", test_full_disk);
    g_test_add_func("/server/daemon/reload", test_reload);
    g_test_add_func("/server/daemon/hardened", test_hardened);
    g_test_add_func("/server/daemon/few-files", test_few_files);
    g_test_add_func("/server/daemon/holder", test_holder);
    g_test_add_func("/server/daemon/bad-config", test_bad_config);
    return g_test_run();
}
