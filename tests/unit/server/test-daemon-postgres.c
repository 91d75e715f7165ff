/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The program with a store in PostgreSQL. */

#include <glib.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "server/daemon.h"
#include "tests/lib/postgres.h"
#include "tests/lib/process.h"
#include "tests/unit/server/http-fixture.h"

typedef struct Place {
    TestPostgres *server;
    char *folder, *config, *address;
} Place;

static char *program(void)
{
    return g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
}

/* Runs hmsg-relay with two words, more (which may be NULL), and the configuration. */
static char *run(const Place *p, int expected, const char *a, const char *b, const char *more)
{
    g_autofree char *relay = program(), *out = NULL, *err = NULL;
    const char *argv[] = {relay, a, b, "--config", p->config, more, NULL};
    int status = test_run(argv, NULL, NULL, &out, &err);
    if (status != expected)
        g_error("%s %s: %d: %s%s", a, b, status, out, err);
    return g_strconcat(out, err, NULL);
}

static void expect(const Place *p, int status, const char *a, const char *b, const char *more,
                   const char *part)
{
    g_autofree char *text = run(p, status, a, b, more);
    if (!strstr(text, part))
        g_error("%s %s: \"%s\" does not say %s", a, b, text, part);
}

static void migrate(const Place *p, int status, const char *to, const char *part)
{
    g_autofree char *relay = program(), *out = NULL, *err = NULL;
    const char *const argv[] = {relay, "store", "migrate", to, "--config", p->config, NULL};
    int got = test_run(argv, NULL, NULL, &out, &err);
    g_autofree char *text = g_strconcat(out, err, NULL);
    if (got != status)
        g_error("store migrate %s: %d: %s", to, got, text);
    if (!strstr(text, part))
        g_error("store migrate %s: \"%s\" does not say %s", to, text, part);
}

static void configure(const Place *p, const char *lines)
{
    TestPostgres *const servers[] = {p->server, NULL};
    g_autofree char *connection = test_postgres_connection(servers);
    g_autofree char *text =
        g_strdup_printf("[relay]\nhost = 127.0.0.1\nlisten = 127.0.0.1:0\nstore = postgres\n"
                        "[postgres]\nconnection = %s\n%s\n",
                        connection, lines);
    g_assert_true(g_file_set_contents(p->config, text, -1, NULL));
}

static Place place_new(void)
{
    Place p = {.folder = test_folder_new(), .server = test_postgres_new(NULL)};
    g_autofree char *relay = program();
    g_autofree char *folder = g_build_filename(p.folder, "relay", NULL);
    const char *const argv[] = {relay, "init", "--host", "127.0.0.1", folder, NULL};
    p.config = g_build_filename(folder, "relay.conf", NULL);
    p.address = g_build_filename(folder, "data", "address", NULL);
    g_assert_cmpint(test_run(argv, NULL, NULL, NULL, NULL), ==, 0);
    configure(&p, "");
    return p;
}

static void place_done(Place *p)
{
    test_postgres_free(p->server);
    test_folder_remove(p->folder);
    g_free(p->config);
    g_free(p->address);
}

static TestProcess *start(const Place *p)
{
    g_autofree char *relay = program();
    const char *const argv[] = {relay, "serve", "--config", p->config, NULL};
    return test_process_start(argv, NULL, NULL);
}

static void expect_answer(const Place *p)
{
    g_autofree char *text = NULL;
    TEST_AWAIT(g_file_get_contents(p->address, &text, NULL, NULL));
    const Fixture f = {.port = (int)g_ascii_strtoull(text + strlen("127.0.0.1:"), NULL, 10)};
    Answer a;
    fixture_fetch(&f, NULL, "/v1/relay", NULL, NULL, -1, &a);
    g_assert_cmpint(a.status, ==, 200);
    answer_clear(&a);
}

static void end(TestProcess *relay)
{
    int status = test_process_stop(relay);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

static bool answer_is(const Place *p, const char *sql, const char *expected)
{
    g_autofree char *answer = test_postgres_ask(p->server, sql);
    return g_strcmp0(answer, expected) == 0;
}

/* A connection of a relay that has ended, of which the server does not know yet. */
static gpointer linger(gpointer place)
{
    const Place *p = place;
    test_postgres_do(p->server, "SELECT pg_advisory_lock_shared(1213026899); SELECT pg_sleep(2)");
    return NULL;
}

static void test_serve(void)
{
    Place p = place_new();
    expect(&p, 1, "store", "check", NULL, "there is no store yet");
    expect(&p, 0, "config", "check", NULL, "is good");
    TestProcess *relay = start(&p);
    expect_answer(&p);
    expect(&p, 0, "invite", "create", NULL, "code");
    expect(&p, 0, "client", "list", NULL, "");
    expect(&p, 0, "store", "check", NULL, "identities: 0");
    expect(&p, 1, "key", "rotate", "--now", "the relay runs");
    end(relay);
    /* without a relay that serves */
    expect(&p, 0, "invite", "list", NULL, "number");
    expect(&p, 0, "store", "rekey", NULL, "The keys are changed");
    expect(&p, 0, "store", "check", NULL, "key: 2");
    expect(&p, 0, "key", "rotate", "--now", "The relay's pin is");
    expect(&p, 0, "store", "check", NULL, "key: 2");
    relay = start(&p);
    expect_answer(&p);
    migrate(&p, 1, "sqlite", "a relay uses it");
    end(relay);
    migrate(&p, 2, "files", "neither postgres nor sqlite: files");
    GThread *lingers = g_thread_new("linger", linger, &p);
    TEST_AWAIT(answer_is(
        &p, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1213026899", "1"));
    migrate(&p, 0, "sqlite", "Now set store = sqlite");
    (void)g_thread_join(lingers);
    expect(&p, 1, "config", "check", NULL, "moved to files");
    migrate(&p, 0, "postgres", "identities: 0");
    expect(&p, 0, "config", "check", NULL, "is good");
    place_done(&p);
}

/* No commit comes back any more: what reads goes on, and the relay ends when it is told to. */
static void test_without_standbys(void)
{
    static const char waits[] = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    Place p = place_new();
    g_autofree char *program_path = program();
    const char *const invite[] = {program_path, "invite", "create", "--config", p.config, NULL};
    TestProcess *relay = start(&p);
    expect_answer(&p);
    test_postgres_do(p.server, "UPDATE ticks SET made = made - 1000");
    test_postgres_do(p.server, "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (nobody)'");
    test_postgres_do(p.server, "SELECT pg_reload_conf()");
    TEST_AWAIT(test_postgres_waits(p.server));
    TestProcess *administrator = test_process_start(invite, NULL, NULL);
    TEST_AWAIT(answer_is(&p, waits, "1"));
    test_process_signal(relay, SIGHUP); /* a tick */
    expect(&p, 0, "store", "check", NULL, "identities: 0");
    expect(&p, 0, "client", "list", NULL, ""); /* of the relay, which does several commands at a time */
    expect_answer(&p);
    end(relay);
    int status = test_process_wait(administrator);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
    place_done(&p);
}

/* Nor does a relay that starts wait for ever: it says so, and is started again by whoever started it. */
static void test_start_without_standbys(void)
{
    Place p = place_new();
    g_autofree char *relay = program(), *log = g_build_filename(p.folder, "log", NULL), *text = NULL;
    const char *const argv[] = {relay, "serve", "--config", p.config, NULL};
    TestProcess *first = start(&p);
    expect_answer(&p); /* the tables are there */
    end(first);
    test_postgres_do(p.server, "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (nobody)'");
    test_postgres_do(p.server, "SELECT pg_reload_conf()");
    TEST_AWAIT(test_postgres_waits(p.server));
    int status = test_process_wait(test_process_start(argv, NULL, log));
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    if (!strstr(text, "a commit waits for a standby in vain"))
        g_error("serve: \"%s\" does not say why", text);
    place_done(&p);
}

/* A database that says nothing any more: what asks it is told so, and the relay ends when it is told to, with
 * what it was at. */
static void test_frozen(void)
{
    Place p = place_new();
    g_autofree char *program_path = program();
    const char *const invite[] = {program_path, "invite", "create", "--config", p.config, NULL};
    TestProcess *relay = start(&p);
    expect_answer(&p);
    test_postgres_freeze(p.server, true);
    TestProcess *administrator = test_process_start(invite, NULL, NULL);
    expect(&p, 1, "client", "list", NULL, "");
    test_process_signal(relay, SIGHUP); /* a tick */
    end(relay);
    int status = test_process_wait(administrator);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
    test_postgres_freeze(p.server, false);
    place_done(&p);
}

static void test_refused(void)
{
    Place p = place_new();
    configure(&p, "quorum = yes\n");
    expect(&p, 1, "config", "check", NULL, "synchronous_standby_names");
    TestProcess *relay = start(&p);
    int status = test_process_wait(relay);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
    test_postgres_kill(p.server);
    configure(&p, "");
    expect(&p, 1, "config", "check", NULL, "database");
    place_done(&p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/daemon-postgres/serve", test_serve);
    g_test_add_func("/daemon-postgres/refused", test_refused);
    g_test_add_func("/daemon-postgres/without-standbys", test_without_standbys);
    g_test_add_func("/daemon-postgres/frozen", test_frozen);
    g_test_add_func("/daemon-postgres/start-without-standbys", test_start_without_standbys);
    return g_test_run();
}
