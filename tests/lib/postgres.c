/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/postgres.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/lib/process.h"

#define PORT "5432" /* names the socket */

struct TestPostgres {
    TestProcess *process;
    char *folder, *data, *log;
    char *address; /* NULL: none */
};

static char *program(const char *name)
{
    const char *folder = g_getenv("HMSG_POSTGRES_BIN");
    return g_build_filename(folder ? folder : "/nonexistent", name, NULL);
}

bool test_postgres_available(void)
{
    g_autofree char *postgres = program("postgres");
    return g_file_test(postgres, G_FILE_TEST_IS_EXECUTABLE);
}

/* The server refuses to be root. argv begins with the name of a program; g_strfreev. */
static char **as_nobody(const char *const argv[])
{
    static const char *const before[] = {
        "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--pdeathsig", "KILL", "--", NULL};
    GPtrArray *all = g_ptr_array_new();
    for (size_t i = 0; geteuid() == 0 && before[i]; i++)
        g_ptr_array_add(all, g_strdup(before[i]));
    g_ptr_array_add(all, program(argv[0]));
    for (size_t i = 1; argv[i]; i++)
        g_ptr_array_add(all, g_strdup(argv[i]));
    g_ptr_array_add(all, NULL);
    return (char **)g_ptr_array_free(all, FALSE);
}

static const char *const environment[] = {"LC_ALL=C", "PGPASSWORD",        "PGHOST",
                                          "PGDATA",   "HOME=/nonexistent", NULL};

static int run_tool(const char *const argv[], char **ret_out, char **ret_err)
{
    g_auto(GStrv) all = as_nobody(argv);
    return test_run((const char *const *)all, environment, NULL, ret_out, ret_err);
}

static void must(const char *const argv[])
{
    g_autofree char *out = NULL, *err = NULL;
    if (run_tool(argv, &out, &err) != 0)
        g_error("%s: %s%s", argv[0], out, err);
}

static TestPostgres *make(void)
{
    TestPostgres *p = g_new0(TestPostgres, 1);
    p->folder = test_folder_new();
    p->data = g_build_filename(p->folder, "data", NULL);
    p->log = g_build_filename(p->folder, "log", NULL);
    const struct passwd *nobody = getpwnam("nobody");
    if (geteuid() == 0 && (!nobody || chown(p->folder, nobody->pw_uid, nobody->pw_gid) < 0))
        g_error("%s: cannot be given to nobody", p->folder);
    return p;
}

char *test_postgres_ask(const TestPostgres *p, const char *sql)
{
    const char *const argv[] = {"psql", "-h", p->folder,         "-p", PORT, "-U",
                                "hmsg", "-d", "postgres",        "-X", "-q", "-A",
                                "-t",   "-v", "ON_ERROR_STOP=1", "-c", sql,  NULL};
    char *out = NULL;
    g_autofree char *err = NULL;
    if (run_tool(argv, &out, &err) != 0) {
        g_free(out);
        return NULL;
    }
    return g_strchomp(out);
}

/* A commit of its own, which is given up again. */
bool test_postgres_waits(const TestPostgres *p)
{
    const char *const argv[] = {"psql", "-h", p->folder,
                                "-p",   PORT, "-U",
                                "hmsg", "-d", "dbname=postgres application_name=probe",
                                "-X",   "-c", "SELECT pg_logical_emit_message(true, 'probe', '')",
                                NULL};
    static const char cancel[] = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity"
                                 " WHERE wait_event = 'SyncRep' AND application_name = 'probe'";
    g_auto(GStrv) all = as_nobody(argv);
    TestProcess *probe = test_process_start((const char *const *)all, environment, p->log);
    bool waits = false;
    while (test_process_runs(probe)) {
        g_autofree char *n = test_postgres_ask(p, cancel);
        waits = waits || g_strcmp0(n, "1") == 0;
    }
    (void)test_process_wait(probe);
    return waits;
}

void test_postgres_do(const TestPostgres *p, const char *sql)
{
    g_autofree char *out = test_postgres_ask(p, sql);
    if (!out)
        g_error("%s: failed, see %s", sql, p->log);
}

static bool answers(const TestPostgres *p)
{
    g_autofree char *out = test_postgres_ask(p, "SELECT 1");
    return out != NULL;
}

void test_postgres_start(TestPostgres *p)
{
    const char *const argv[] = {
        "postgres", "-D", p->data, "-k", p->folder, "-p", PORT, "-h", p->address ? p->address : "", NULL};
    g_auto(GStrv) all = as_nobody(argv);
    g_assert_null(p->process);
    p->process = test_process_start((const char *const *)all, environment, p->log);
    TEST_AWAIT(!test_process_runs(p->process) || answers(p));
    if (!test_process_runs(p->process))
        g_error("PostgreSQL does not start, see %s", p->log);
}

static void append(const char *folder, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(folder, name, NULL), *before = NULL;
    g_autofree char *all = NULL;
    if (!g_file_get_contents(path, &before, NULL, NULL))
        g_error("%s: cannot be read", path);
    all = g_strconcat(before, "\n", text ? text : "", "\n", NULL);
    GError *error = NULL;
    /* in place: it stays nobody's */
    if (!g_file_set_contents_full(path, all, -1, G_FILE_SET_CONTENTS_NONE, 0600, &error))
        g_error("%s", error->message);
}

TestPostgres *test_postgres_new(const char *settings)
{
    TestPostgres *p = make();
    const char *const argv[] = {"initdb", "-D", p->data, "-U",         "hmsg",      "-A",
                                "trust",  "-E", "UTF8",  "--locale=C", "--no-sync", NULL};
    must(argv);
    append(p->data, "postgresql.conf",
           "shared_buffers = 16MB\nmax_connections = 60\nmax_wal_senders = 5\n"
           "fsync = on\ndynamic_shared_memory_type = mmap\n"); /* one that is killed leaves it in data */
    append(p->data, "postgresql.conf", settings);
    test_postgres_start(p);
    return p;
}

TestPostgres *test_postgres_standby(const TestPostgres *primary, const char *name)
{
    TestPostgres *p = make();
    const char *const argv[] = {
        "pg_basebackup", "-h", primary->folder, "-p",        PORT, "-U", "hmsg", "-D", p->data, "-R", "-X",
        "stream",        "-c", "fast",          "--no-sync", NULL};
    must(argv);
    g_autofree char *settings = g_strdup_printf(
        "primary_conninfo = 'host=%s port=" PORT " user=hmsg application_name=%s'\n", primary->folder, name);
    append(p->data, "postgresql.auto.conf", settings);
    test_postgres_start(p);
    return p;
}

/* proc(5): PID (name) state parent ..., and a name may have anything in it. */
static int parent_of(const char *pid)
{
    g_autofree char *path = g_build_filename("/proc", pid, "stat", NULL);
    g_autofree char *text = NULL;
    int parent = -1;

    if (!g_file_get_contents(path, &text, NULL, NULL)) /* it has ended */
        return -1;
    const char *end = strrchr(text, ')');
    return end && sscanf(end, ") %*c %d", &parent) == 1 ? parent : -1;
}

static void signal_children(TestPostgres *p, int signal)
{
    g_autoptr(GDir) processes = g_dir_open("/proc", 0, NULL);
    const char *pid;

    g_assert_nonnull(processes);
    while ((pid = g_dir_read_name(processes)))
        if (g_ascii_isdigit(pid[0]) && parent_of(pid) == test_process_pid(p->process))
            (void)kill((pid_t)g_ascii_strtoll(pid, NULL, 10), signal);
}

void test_postgres_kill(TestPostgres *p)
{
    /* first the one that would start others, or tell somebody */
    test_process_signal(p->process, SIGSTOP);
    signal_children(p, SIGKILL);
    test_process_signal(p->process, SIGKILL);
    (void)test_process_wait(p->process);
    p->process = NULL;
}

void test_postgres_freeze(TestPostgres *p, bool frozen)
{
    test_process_signal(p->process, frozen ? SIGSTOP : SIGCONT);
    signal_children(p, frozen ? SIGSTOP : SIGCONT);
}

void test_postgres_listen(TestPostgres *p, const char *address)
{
    g_autofree char *line = g_strdup_printf("host all all %s/32 trust", address);
    test_postgres_kill(p);
    p->address = g_strdup(address);
    append(p->data, "pg_hba.conf", line);
    test_postgres_start(p);
}

void test_postgres_promote(TestPostgres *p)
{
    g_autofree char *done = test_postgres_ask(p, "SELECT pg_promote(true, 300)");
    g_assert_cmpstr(done, ==, "t");
}

void test_postgres_free(TestPostgres *p)
{
    if (!p)
        return;
    if (p->process)
        test_postgres_kill(p);
    test_folder_remove(p->folder);
    g_free(p->data);
    g_free(p->log);
    g_free(p->address);
    g_free(p);
}

char *test_postgres_connection(TestPostgres *const *p)
{
    GString *hosts = g_string_new("host=");
    GString *ports = g_string_new(" port=");
    for (size_t i = 0; p[i]; i++) {
        g_string_append_printf(hosts, "%s%s", i > 0 ? "," : "", p[i]->folder);
        g_string_append_printf(ports, "%s" PORT, i > 0 ? "," : "");
    }
    g_string_append_printf(hosts, "%s user=hmsg dbname=postgres", ports->str);
    g_string_free(ports, TRUE);
    return g_string_free(hosts, FALSE);
}

const char *test_postgres_folder(const TestPostgres *p)
{
    return p->folder;
}
