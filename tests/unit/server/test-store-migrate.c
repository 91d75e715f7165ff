/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/store-migrate.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "server/store-open.h"
#include "server/store-postgres.h"
#include "server/store-sqlite.h"
#include "server/ticks.h"
#include "tests/unit/server/store-util.h"

/* From files to PostgreSQL and back, with all that a store may hold. */

#define NOW 1000
#define USERS 12u
#define MESSAGES 600u /* several transactions of the copy */
#define LARGE 300000u /* more than one row of a large body */

typedef struct Fixture {
    char *folder;
    Options options; /* of a relay that has both */
    StoreLimits limits;
    int64_t later;
    uint8_t ids[MESSAGES][ID_SIZE], large[ID_SIZE], extra[ID_SIZE];
} Fixture;

static void open_store(Fixture *f, OptionStore which, Store **ret, StoreReader **ret_reader)
{
    f->options.store = which;
    g_assert_cmpint(store_open(&f->options, &f->limits, test_store_keeper(), ret), ==, 0);
    g_assert_cmpint(store_reader_new(*ret, ret_reader), ==, 0);
}

static uint8_t user_of(unsigned message)
{
    return (uint8_t)(1 + message % (USERS - 1));
}

static void rotate(Store *s)
{
    g_autofree StoreIdentity *i = test_identity(40, "");
    i->generation = 2;
    StoreWrite w = {
        .kind = STORE_ROTATE,
        .rotate = {.identity = i, .from = test_skid(5), .from_statement = "statement 5", .steps = "[]"}};
    g_assert_cmpint(test_write(s, &w), ==, 0);
}

static void put_large(Fixture *f, Store *s)
{
    StoreWrite w;
    test_put_init(&w, 1, 2, NOW, test_body(500, LARGE), LARGE, f->later);
    w.put.body = NULL;
    g_assert_cmpint(store_blob_new(s, &w.put.blob), ==, 0);
    g_assert_cmpint(store_blob_append(w.put.blob, test_body(500, LARGE), LARGE), ==, 0);
    g_assert_cmpint(test_write(s, &w), ==, 0);
    memcpy(f->large, w.put.id, ID_SIZE);
}

static void fill(Fixture *f)
{
    Store *store = NULL;
    StoreReader *reader = NULL;
    StoreWrite w, leave = {.kind = STORE_UNREGISTER};
    open_store(f, STORE_SQLITE, &store, &reader);
    for (unsigned i = 1; i <= USERS; i++) {
        g_autofree char *name = i == USERS ? g_strdup("") : g_strdup_printf("user%u", i);
        g_assert_cmpint(test_register(store, (uint8_t)i, name), ==, 0);
    }
    g_assert_cmpint(test_register(store, 30, "gone"), ==, 0); /* its number is nobody else's afterwards */
    memcpy(leave.unregister.skid, test_skid(30), KID_SIZE);
    g_strlcpy(leave.unregister.name, "gone", sizeof(leave.unregister.name));
    g_assert_cmpint(test_write(store, &leave), ==, 0);
    for (unsigned i = 0; i < MESSAGES; i++) {
        g_assert_cmpint(test_put(store, user_of(i), i % 7 ? 2 : USERS, NOW, test_body(i % 480, 100 + i),
                                 100 + i, f->later, &w),
                        ==, 0);
        memcpy(f->ids[i], w.put.id, ID_SIZE);
    }
    put_large(f, store);
    for (unsigned i = 0; i < MESSAGES; i += 10) {
        g_assert_cmpint(test_acknowledge(store, user_of(i), f->ids[i], 1, &w), ==, 0);
        g_assert_cmpuint(w.n_changes, ==, 1);
        store_write_done(&w);
    }
    rotate(store);
    StoreWrite invite = {.kind = STORE_INVITE,
                         .invite = {.code = "code", .uses = 3, .now = clock_realtime(), .expires = f->later}};
    g_assert_cmpint(test_write(store, &invite), ==, 0);
    StoreWrite grant = {.kind = STORE_GRANT, .grant = {.uses = 9, .now = NOW, .expires = f->later}};
    memcpy(grant.grant.mailbox, test_kid(1), KID_SIZE);
    g_assert_cmpint(test_write(store, &grant), ==, 0);
    SenderRule rule = {};
    const MailboxSettings settings = {3, 7200, &rule, 1};
    StoreWrite tell = {.kind = STORE_SETTINGS, .settings.all = &settings};
    memcpy(rule.skid, test_skid(USERS), KID_SIZE);
    memcpy(tell.settings.mailbox, test_kid(1), KID_SIZE);
    g_assert_cmpint(test_write(store, &tell), ==, 0);
    reader = store_reader_free(reader);
    store = store_free(store);
}

static void set_up(Fixture *f, gconstpointer data)
{
    test_postgres_do(test_store_server(), "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    f->folder = test_folder_new();
    f->later = clock_realtime() + 100000;
    f->options.data = f->folder;
    f->options.postgres.connection = test_store_connection();
    store_limits_init(&f->limits);
    f->limits.space_reserve = 0;
    fill(f);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_free(f->options.postgres.connection);
    test_folder_remove(f->folder);
}

static int migrate(Fixture *f, OptionStore to, StoreCounts *ret)
{
    char error[POSTGRES_ERROR_SIZE];
    return store_migrate(&f->options, to, test_store_keeper(), ret, error);
}

static void expect_message(Fixture *f, StoreReader *reader, unsigned i)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(MESSAGE_SIZE_MAX);
    StoreFile *file = NULL;
    StoreState state = STORE_EXPIRED;
    uint64_t size = 0;
    const uint8_t *kid = test_kid(user_of(i) == 5 ? 40 : user_of(i));
    int r = store_fetch(reader, kid, f->ids[i], &body, &file, &size);
    g_assert_cmpint(r, ==, i % 10 ? 0 : HMSG_ERROR_NOT_FOUND);
    if (r == 0)
        g_assert_cmpmem(body.data, body.size, test_body(i % 480, 100 + i), 100 + i);
    g_assert_cmpint(store_status(reader, test_skid(i % 7 ? 2 : USERS), f->ids[i], &state), ==, 0);
    g_assert_cmpint(state, ==, i % 10 ? STORE_ACCEPTED : STORE_DELIVERED);
}

static void expect_large(Fixture *f, StoreReader *reader)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(LARGE);
    StoreFile *file = NULL;
    uint64_t size = 0;
    g_assert_cmpint(store_fetch(reader, test_kid(1), f->large, &body, &file, &size), ==, 0);
    test_read_file(file, &body);
    g_assert_cmpmem(body.data, body.size, test_body(500, LARGE), LARGE);
}

/* All that was put in is there, and more can be. number: of somebody who was not there before. */
static void expect_all(Fixture *f, OptionStore which, uint8_t newcomer)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    Store *store = NULL;
    StoreReader *reader = NULL;
    StoreWrite w, enter = {.kind = STORE_REGISTER};
    StoreInvite invite = {};
    StoreCapability capability = {};
    StoreSettings settings = {};
    StoreRule rule = STORE_RULE_NONE;
    int64_t number = 0, last = 0;
    open_store(f, which, &store, &reader);
    for (unsigned k = 0; k < MESSAGES; k++)
        expect_message(f, reader, k);
    expect_large(f, reader);
    g_assert_cmpint(store_find_former(reader, test_kid(5), i), ==, 0);
    g_assert_cmpstr(i->name, ==, "user5");
    g_assert_cmpint(store_next_invite(reader, &invite), ==, 0);
    g_assert_cmpint(store_next_capability(reader, test_kid(1), &capability), ==, 0);
    g_assert_cmpuint(capability.uses, ==, 9);
    g_assert_cmpint(store_settings(reader, test_kid(1), &settings), ==, 0);
    g_assert_cmpuint(settings.lifetime, ==, 7200);
    g_assert_cmpint(store_rule(reader, test_kid(1), test_skid(USERS), &rule), ==, 0);
    g_assert_cmpint(rule, ==, STORE_RULE_BLOCKED);
    /* a copy of what was delivered is known still, and counts go on */
    g_assert_cmpint(test_put(store, user_of(0), USERS, NOW, test_body(0, 100), 100, f->later, &w), ==, 0);
    g_assert_false(w.put.created);
    g_autofree StoreIdentity *new = test_identity(newcomer, "");
    g_snprintf(new->name, sizeof(new->name), "new%u", newcomer);
    enter.reg.identity = new;
    g_assert_cmpint(test_write(store, &enter), ==, 0);
    while (store_next_identity(reader, &number, i) == 0)
        last = number;
    g_assert_cmpint(last, >, USERS + 1); /* not the number of who is gone */
    g_assert_cmpint(test_put(store, newcomer, 2, NOW, "welcome", 7, f->later, &w), ==, 0);
    g_assert_true(w.put.created);
    g_assert_cmpint(store_check(reader, NULL, NULL), ==, 0);
    reader = store_reader_free(reader);
    store = store_free(store);
}

static void expect_refused(Fixture *f, OptionStore which, int result)
{
    Store *store = NULL;
    f->options.store = which;
    g_assert_cmpint(store_open(&f->options, &f->limits, test_store_keeper(), &store), ==, result);
}

static void test_there_and_back(Fixture *f, gconstpointer data)
{
    StoreCounts c = {};
    Ticks t, own;
    char error[POSTGRES_ERROR_SIZE];
    g_assert_cmpint(ticks_advance(f->folder, &own), ==, 0);
    g_assert_cmpint(migrate(f, STORE_SQLITE, &c), ==, -EEXIST);
    g_assert_cmpint(migrate(f, STORE_POSTGRES, &c), ==, 0);
    g_assert_cmpuint(c.messages, ==, MESSAGES - MESSAGES / 10 + 1);
    g_assert_cmpuint(c.blobs, ==, 1);
    g_assert_cmpuint(c.identities, ==, USERS);
    expect_refused(f, STORE_SQLITE, -ENODATA);
    g_assert_cmpint(migrate(f, STORE_POSTGRES, &c), ==, -ENOENT);
    expect_all(f, STORE_POSTGRES, 50);
    /* a relay with another folder goes on from what clients were told */
    g_assert_cmpint(store_postgres_tick(&f->options.postgres, NULL, &t, error), ==, 0);
    g_assert_cmpuint(t.number, ==, own.number + 1);
    g_assert_cmpmem(t.ids[1], TICK_SIZE, own.ids[0], TICK_SIZE);
    test_postgres_do(test_store_server(), "UPDATE ticks SET number = 70");
    g_assert_cmpint(migrate(f, STORE_SQLITE, &c), ==, 0);
    g_assert_cmpuint(c.identities, ==, USERS + 1);
    expect_refused(f, STORE_POSTGRES, -ENODATA);
    expect_all(f, STORE_SQLITE, 51);
    g_assert_cmpint(ticks_advance(f->folder, &own), ==, 0);
    g_assert_cmpuint(own.number, ==, 71);
    /* and once more */
    g_assert_cmpint(migrate(f, STORE_POSTGRES, &c), ==, 0);
    g_assert_cmpuint(c.identities, ==, USERS + 2);
    expect_all(f, STORE_POSTGRES, 52);
}

static void test_used(Fixture *f, gconstpointer data)
{
    Store *store = NULL;
    StoreReader *reader = NULL;
    StoreCounts c = {};
    open_store(f, STORE_SQLITE, &store, &reader);
    g_assert_cmpint(migrate(f, STORE_POSTGRES, &c), ==, -EBUSY);
    reader = store_reader_free(reader);
    store = store_free(store);
    open_store(f, STORE_POSTGRES, &store, &reader);
    g_assert_cmpint(migrate(f, STORE_POSTGRES, &c), ==, -EBUSY);
    reader = store_reader_free(reader);
    store = store_free(store);
    TEST_AWAIT(migrate(f, STORE_POSTGRES, &c) == -EEXIST); /* somebody has used it */
    expect_all(f, STORE_SQLITE, 50);
}

/* What a migration says that finds nothing to do, for the last one was killed after its last step. */
static int moved(OptionStore to)
{
    return to == STORE_SQLITE ? -EEXIST : -ENOENT;
}

/* In a process of its own. */
static _Noreturn void migrate_and_exit(Fixture *f, OptionStore to)
{
    StoreCounts c = {};
    int r = migrate(f, to, &c);
    _exit(r == 0 || r == moved(to) ? 0 : 1);
}

/* In a process of its own, which is killed after some time. true: it came to its end. */
static bool kill_after(Fixture *f, OptionStore to, unsigned microseconds)
{
    int status = 0;
    pid_t pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0)
        migrate_and_exit(f, to);
    g_usleep(microseconds);
    g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFEXITED(status);
}

static bool is_alone(void)
{
    g_autofree char *n = test_postgres_ask(
        test_store_server(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hmsg-relay'");
    return g_strcmp0(n, "0") == 0;
}

/* Again and again, each time a little later; then it is let to its end. */
static void migrate_with_kills(Fixture *f, OptionStore to)
{
    StoreCounts c = {};
    bool done = false;
    for (unsigned i = 0; i < 12 && !done; i++) {
        done = kill_after(f, to, 15000 * (i + 1));
        TEST_AWAIT(is_alone());
    }
    int r = migrate(f, to, &c);
    if (done || r != 0) /* it may be killed after its last step */
        g_assert_cmpint(r, ==, moved(to));
}

static void test_killed(Fixture *f, gconstpointer data)
{
    migrate_with_kills(f, STORE_POSTGRES);
    expect_all(f, STORE_POSTGRES, 50);
    migrate_with_kills(f, STORE_SQLITE);
    expect_all(f, STORE_SQLITE, 51);
}

/* The same, killed at its n-th look of the kernel: before or behind a system call. Its other threads, which
 * connect, run as they like. *ret_calls: how many there were. */
static bool kill_at(Fixture *f, OptionStore to, uint64_t n, uint64_t *ret_calls)
{
    int status = 0;
    pid_t pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 || raise(SIGSTOP) != 0)
            _exit(2);
        migrate_and_exit(f, to);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSTOPPED(status));
    g_assert_cmpint(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD), ==, 0);
    for (*ret_calls = 0; WIFSTOPPED(status) && *ret_calls < n; (*ret_calls)++) {
        int signal = WSTOPSIG(status);
        bool real = signal != SIGSTOP && signal != (SIGTRAP | 0x80);
        g_assert_cmpint(ptrace(PTRACE_SYSCALL, pid, NULL, (uintptr_t)(real ? signal : 0)), ==, 0);
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    }
    if (WIFSTOPPED(status)) {
        g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    }
    g_assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    TEST_AWAIT(is_alone());
    return WIFEXITED(status);
}

/* What a relay does that goes on with the former store: a message comes, the one before is acknowledged. 0,
 * or why the store is not opened. */
static int serve(Fixture *f, OptionStore which, unsigned *n)
{
    Store *store = NULL;
    StoreWrite w;
    f->options.store = which;
    int r = store_open(&f->options, &f->limits, test_store_keeper(), &store);
    if (r != 0)
        return r;
    if (*n > 0) {
        g_assert_cmpint(test_acknowledge(store, 1, f->extra, 1, &w), ==, 0);
        g_assert_cmpuint(w.n_changes, ==, 1);
        store_write_done(&w);
    }
    (*n)++;
    g_assert_cmpint(test_put(store, 1, 2, NOW, test_body(490, 5000 + *n), 5000 + *n, f->later, &w), ==, 0);
    g_assert_true(w.put.created);
    memcpy(f->extra, w.put.id, ID_SIZE);
    store = store_free(store);
    TEST_AWAIT(is_alone());
    return 0;
}

static void expect_no_file(const Fixture *f, const char *more)
{
    g_autofree char *path = g_strdup_printf("%s/relay.sqlite%s", f->folder, more);
    if (g_file_test(path, G_FILE_TEST_EXISTS))
        g_error("%s: is left", path);
}

/* Not moved to yet, or not to its end. */
static void expect_either_refused(Fixture *f, OptionStore which)
{
    Store *store = NULL;
    f->options.store = which;
    int r = store_open(&f->options, &f->limits, test_store_keeper(), &store);
    g_assert_true(r == -ENODATA || r == -EINPROGRESS);
}

/* Killed some times at points that nobody chose; about half of the times in the last steps, which change what
 * counts. Then the former store is served from again, if it counts still, and all of it is moved. */
static void move_with_kills(Fixture *f, OptionStore from, OptionStore to, uint64_t n_calls, unsigned *n_extra)
{
    bool done = false;
    uint64_t calls = 0;
    for (unsigned k = (unsigned)g_test_rand_int_range(1, 5); k > 0 && !done; k--) {
        uint64_t last = n_calls > 400 && g_test_rand_bit() ? 400 : n_calls;
        uint64_t at = n_calls - (uint64_t)g_test_rand_double_range(0, (double)last);
        done = kill_at(f, to, at, &calls);
        g_test_message("killed at %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT "%s", at, n_calls,
                       done ? ", and had ended" : "");
        if (done || g_test_rand_bit())
            continue;
        /* if the new one counts already, the former does not */
        int r = serve(f, from, n_extra);
        if (r != 0)
            g_assert_cmpint(r, ==, -ENODATA);
        else
            expect_either_refused(f, to);
    }
    StoreCounts c = {};
    int r = migrate(f, to, &c);
    if (done || r != 0) /* it may be killed after its last step */
        g_assert_cmpint(r, ==, moved(to));
}

/* Nothing is lost, nothing there twice, and nothing is left behind. */
static void expect_moved(Fixture *f, OptionStore from, OptionStore to, unsigned round, unsigned n_extra)
{
    static const char *const left[] = {"-wal",      "-shm",       ".part",  ".part-wal",
                                       ".part-shm", ".part.from", ".moving"};
    _cleanup_(buf_done) Buf body = BUF_MAX(MESSAGE_SIZE_MAX);
    StoreFile *file = NULL;
    Store *store = NULL;
    StoreReader *reader = NULL;
    StoreCounts c = {};
    uint64_t size = 0;
    expect_refused(f, from, -ENODATA);
    expect_all(f, to, (uint8_t)(50 + round));
    open_store(f, to, &store, &reader);
    g_assert_cmpint(store_counts(reader, &c), ==, 0);
    g_assert_cmpuint(c.messages, ==, MESSAGES - MESSAGES / 10 + 1 + (round + 1) + (n_extra > 0));
    g_assert_cmpuint(c.identities, ==, USERS + round + 1);
    if (n_extra > 0) {
        g_assert_cmpint(store_fetch(reader, test_kid(1), f->extra, &body, &file, &size), ==, 0);
        g_assert_cmpmem(body.data, body.size, test_body(490, 5000 + n_extra), 5000 + n_extra);
    }
    reader = store_reader_free(reader);
    store = store_free(store);
    TEST_AWAIT(is_alone());
    for (size_t i = 0; i < G_N_ELEMENTS(left); i++)
        expect_no_file(f, left[i]);
}

/* HMSG_ROUNDS asks for more of them. */
static void test_killed_anywhere(Fixture *f, gconstpointer data)
{
    const char *asked = g_getenv("HMSG_ROUNDS");
    unsigned rounds = asked ? (unsigned)g_ascii_strtoull(asked, NULL, 10) : 4, n_extra = 0;
    uint64_t calls[2] = {0};
    g_assert_cmpuint(rounds, <=, 20); /* each move has a newcomer, and of those there are 50 */
    for (unsigned round = 0; round < 2 * (rounds + 1); round++) {
        OptionStore from = round % 2 ? STORE_POSTGRES : STORE_SQLITE;
        OptionStore to = round % 2 ? STORE_SQLITE : STORE_POSTGRES;
        if (round < 2)
            g_assert_true(kill_at(f, to, UINT64_MAX, &calls[round]));
        else
            move_with_kills(f, from, to, calls[round % 2], &n_extra);
        expect_moved(f, from, to, round, n_extra);
    }
}

static char *body_file(const Fixture *f)
{
    g_autofree char *blobs = g_build_filename(f->folder, "blobs", NULL);
    GDir *d = g_dir_open(blobs, 0, NULL);
    g_assert_nonnull(d);
    char *path = g_build_filename(blobs, g_dir_read_name(d), NULL);
    g_dir_close(d);
    return path;
}

/* One that was given up: the former store is used again, and what it lost or got meanwhile counts. */
static void test_given_up(Fixture *f, gconstpointer data)
{
    StoreCounts c = {};
    Store *store = NULL;
    StoreReader *reader = NULL;
    StoreWrite w;
    g_autofree char *moving = g_build_filename(f->folder, "relay.sqlite" MIGRATE_MOVING, NULL);
    g_autofree char *body = body_file(f);
    g_autofree char *part = g_strconcat(body, ".part", NULL);
    g_autofree char *hidden = g_build_filename(f->folder, "hidden", NULL);
    g_assert_cmpint(rename(body, hidden), ==, 0);
    g_assert_cmpint(migrate(f, STORE_POSTGRES, &c), <, 0); /* in the midst of it: a body is missing */
    g_assert_cmpint(rename(hidden, body), ==, 0);
    g_assert_true(g_file_test(moving, G_FILE_TEST_EXISTS));
    expect_refused(f, STORE_POSTGRES, -EINPROGRESS);
    open_store(f, STORE_SQLITE, &store, &reader);
    g_assert_false(g_file_test(moving, G_FILE_TEST_EXISTS));
    g_assert_cmpint(test_acknowledge(store, user_of(1), f->ids[1], 1, &w), ==, 0);
    g_assert_cmpuint(w.n_changes, ==, 1);
    store_write_done(&w);
    reader = store_reader_free(reader);
    store = store_free(store);
    g_assert_cmpint(migrate(f, STORE_POSTGRES, &c), ==, 0);
    g_assert_cmpuint(c.messages, ==, MESSAGES - MESSAGES / 10);
    /* the same from there: PostgreSQL is used again before the end */
    g_assert_cmpint(mkdir(part, 0700), ==, 0); /* where its large body is to be written */
    g_assert_cmpint(migrate(f, STORE_SQLITE, &c), ==, -EISDIR);
    g_assert_cmpint(rmdir(part), ==, 0);
    expect_refused(f, STORE_SQLITE, -EINPROGRESS);
    TEST_AWAIT(is_alone());
    open_store(f, STORE_POSTGRES, &store, &reader);
    g_assert_cmpint(test_acknowledge(store, user_of(2), f->ids[2], 1, &w), ==, 0);
    store_write_done(&w);
    reader = store_reader_free(reader);
    store = store_free(store);
    TEST_AWAIT(is_alone());
    g_assert_cmpint(migrate(f, STORE_SQLITE, &c), ==, 0);
    g_assert_cmpuint(c.messages, ==, MESSAGES - MESSAGES / 10 - 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, f) g_test_add("/store-migrate/" name, Fixture, NULL, set_up, f, tear_down)
    ADD("there-and-back", test_there_and_back);
    ADD("used", test_used);
    ADD("killed", test_killed);
    ADD("killed-anywhere", test_killed_anywhere);
    ADD("given-up", test_given_up);
    return g_test_run();
}
