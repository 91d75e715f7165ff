/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libhmsg/base/error.h"
#include "libhmsg/db/db.h"
#include "tests/lib/process.h"

#define WORD "CORMORANT"
#define ROWS 400
#define KILLS 60

static const char *const steps[] = {"CREATE TABLE birds (id INTEGER PRIMARY KEY, name TEXT, body BLOB); "
                                    "CREATE INDEX birds_name ON birds(name)"};
static const DbSchema schema = {.application_id = 0x74736562, .steps = steps, .n_steps = 1};
static const char *const leftovers[] = {".new", ".clear", "-wal", "-shm", "-journal"};
#define OF_SEALING                                                                                           \
    2 /* the first; the others are SQLite's, and may stay where a store in clear could not be opened */

typedef struct Fixture {
    char *folder, *path;
    DbSeal *seal;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    _cleanup_(secret_freep) Secret *key = NULL;

    f->folder = test_folder_new();
    f->path = g_build_filename(f->folder, "store.db", NULL);
    g_assert_cmpint(secret_new_random(DB_SEAL_KEY_SIZE, &key), ==, 0);
    g_assert_cmpint(db_seal_new(key, &f->seal), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    db_seal_free(f->seal);
    g_free(f->path);
    test_folder_remove(f->folder);
}

static void fill(Db *db)
{
    g_assert_cmpint(db_exec(db,
                            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)"
                            " INSERT INTO birds SELECT i, '" WORD "' || i, zeroblob(i * 37) FROM n"),
                    ==, 0);
}

static void make_clear(Fixture *f)
{
    _cleanup_(db_closep) Db *db = NULL;

    g_assert_cmpint(db_open(f->path, &schema, NULL, &db), ==, 0);
    fill(db);
}

static int64_t number(Db *db, const char *sql)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    bool row = false;

    g_assert_cmpint(db_prepare(db, sql, &s), ==, 0);
    g_assert_cmpint(db_step(s, &row), ==, 0);
    g_assert_true(row);
    return db_column_number(s, 0);
}

/* All that was put in, and nothing amiss. */
static void expect_whole(Db *db)
{
    g_assert_cmpint(db_check(db), ==, 0);
    g_assert_cmpint(number(db, "SELECT count(*) FROM birds WHERE name = '" WORD "' || id"), ==, ROWS);
    g_assert_cmpint(number(db, "SELECT sum(length(body)) FROM birds"), ==, 37 * ROWS * (ROWS + 1) / 2);
}

static bool has_word(const char *path)
{
    g_autofree char *bytes = NULL;
    gsize n = 0;

    g_assert_true(g_file_get_contents(path, &bytes, &n, NULL));
    return memmem(bytes, n, WORD, strlen(WORD)) != NULL;
}

static void expect_no_leftovers(Fixture *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g_autofree char *name = g_strconcat(f->path, leftovers[i], NULL);
        if (access(name, F_OK) == 0)
            g_error("%s is there", name);
    }
}

static void expect_sealed(Fixture *f)
{
    const DbOptions options = {.seal = f->seal};
    _cleanup_(db_closep) Db *db = NULL;
    struct stat st;

    expect_no_leftovers(f, G_N_ELEMENTS(leftovers));
    g_assert_false(has_word(f->path));
    g_assert_cmpint(stat(f->path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 07777, ==, 0600);
    g_assert_cmpint(st.st_nlink, ==, 1);
    g_assert_cmpint(db_open(f->path, &schema, NULL, &db), ==, -EBADMSG);
    g_assert_cmpint(db_open(f->path, &schema, &options, &db), ==, 0);
    expect_whole(db);
    g_assert_cmpint(db_exec(db, "INSERT INTO birds VALUES(10000, '" WORD "', zeroblob(50000))"), ==, 0);
    g_assert_cmpint(db_exec(db, "DELETE FROM birds WHERE id = 10000"), ==, 0);
    g_assert_cmpint(db_checkpoint(db), ==, 0);
    expect_whole(db);
}

/* Also what is in the log only; and the file that was in clear is overwritten, not just gone. */
static void test_sealed(Fixture *f, gconstpointer data)
{
    char bytes[sizeof(WORD)];
    off_t at = 0;

    make_clear(f);
    g_assert_true(has_word(f->path));
    _cleanup_(fd_closep) int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(db_seal_file(f->path, &schema, f->seal), ==, 0);
    expect_sealed(f);
    for (; pread(fd, bytes, 1, at) == 1; at++)
        if (bytes[0] != 0)
            g_error("byte %jd of the former file is left", (intmax_t)at);
    g_assert_cmpint(at, >, 0);
    g_assert_cmpint(db_seal_file(f->path, &schema, f->seal), ==, 0);
    expect_sealed(f);
}

static void test_nothing(Fixture *f, gconstpointer data)
{
    const DbOptions options = {.seal = f->seal};
    Db *db = NULL;

    g_assert_cmpint(db_seal_file(f->path, &schema, f->seal), ==, 0);
    g_assert_cmpint(access(f->path, F_OK), <, 0);
    g_assert_cmpint(db_open(f->path, &schema, &options, &db), ==, 0);
    fill(db);
    db_close(db);
    g_assert_cmpint(db_seal_file(f->path, &schema, f->seal), ==, 0);
    expect_sealed(f);
}

/* Nobody's store that is in use, another program's or one with a second name is touched. */
static void test_refused(Fixture *f, gconstpointer data)
{
    static const DbSchema other = {.application_id = 0x74736563, .steps = steps, .n_steps = 1};
    g_autofree char *name = g_build_filename(f->folder, "other", NULL);
    Db *db = NULL, *reader = NULL;

    make_clear(f);
    g_assert_cmpint(db_open(f->path, &schema, NULL, &db), ==, 0);
    g_assert_cmpint(db_seal_file(f->path, &schema, f->seal), ==, -EBUSY);
    db_close(db);
    g_assert_cmpint(db_open_reader(f->path, &schema, &reader), ==, 0);
    g_assert_cmpint(number(reader, "SELECT count(*) FROM birds"), ==, ROWS);
    g_assert_cmpint(db_seal_file(f->path, &schema, f->seal), ==, -EBUSY);
    g_assert_cmpint(number(reader, "SELECT count(*) FROM birds"), ==, ROWS);
    db_close(reader);
    g_assert_cmpint(db_seal_file(f->path, &other, f->seal), ==, -EBADMSG);
    g_assert_cmpint(link(f->path, name), ==, 0);
    g_assert_cmpint(db_seal_file(f->path, &schema, f->seal), ==, -EMLINK);
    g_assert_cmpint(unlink(name), ==, 0);
    g_assert_true(has_word(f->path));
    g_assert_cmpint(db_seal_file(f->path, &schema, f->seal), ==, 0);
    expect_sealed(f);
}

/* What a crash leaves just before and just after the store has changed. */
static void test_interrupted(Fixture *f, gconstpointer data)
{
    g_autofree char *new = g_strconcat(f->path, ".new", NULL), *clear = g_strconcat(f->path, ".clear", NULL);

    make_clear(f);
    g_assert_cmpint(link(f->path, clear), ==, 0);
    g_assert_true(g_file_set_contents(new, "half a store", -1, NULL));
    g_assert_cmpint(db_seal_file(f->path, &schema, f->seal), ==, 0);
    expect_sealed(f);

    g_assert_true(g_file_set_contents(clear, WORD, -1, NULL));
    g_assert_cmpint(db_seal_file(f->path, &schema, f->seal), ==, 0);
    expect_sealed(f);
}

/* A limit for the size of files is a disk that is full in the middle of a page. */
static void test_full(Fixture *f, gconstpointer data)
{
    struct rlimit before, limit;
    struct stat st;
    int failed = 0;

    make_clear(f);
    g_assert_cmpint(stat(f->path, &st), ==, 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
    for (off_t size = 1000; size < st.st_size; size += st.st_size / 5) {
        limit = (struct rlimit){.rlim_cur = (rlim_t)size, .rlim_max = before.rlim_max};
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
        int r = db_seal_file(f->path, &schema, f->seal);
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &before), ==, 0);
        g_assert_cmpint(r, !=, 0);
        failed++;
        expect_no_leftovers(f, OF_SEALING);
        _cleanup_(db_closep) Db *db = NULL;
        g_assert_cmpint(db_open(f->path, &schema, NULL, &db), ==, 0);
        expect_whole(db);
    }
    g_assert_cmpint(failed, >=, 5);
    g_assert_cmpint(db_seal_file(f->path, &schema, f->seal), ==, 0);
    expect_sealed(f);
}

/* Killed later and later; the time that is measured only chooses where. */
static void test_killed(Fixture *f, gconstpointer data)
{
    int was_clear = 0;

    make_clear(f);
    gint64 begin = g_get_monotonic_time();
    g_assert_cmpint(db_seal_file(f->path, &schema, f->seal), ==, 0);
    gint64 whole = g_get_monotonic_time() - begin;
    for (int i = 0; i < KILLS; i++) {
        const DbOptions options = {.seal = f->seal};
        Db *db = NULL;

        g_assert_cmpint(unlink(f->path), ==, 0);
        make_clear(f);
        pid_t child = fork();
        g_assert_cmpint(child, >=, 0);
        if (child == 0)
            _exit(db_seal_file(f->path, &schema, f->seal) == 0 ? 0 : 1);
        g_usleep((gulong)(whole * i / (KILLS - 10)));
        g_assert_cmpint(kill(child, SIGKILL), ==, 0);
        g_assert_cmpint(waitpid(child, NULL, 0), ==, child);
        /* whichever it is now, it is all of it */
        if (has_word(f->path)) {
            was_clear++;
            g_autofree char *clear = g_strconcat(f->path, ".clear", NULL);
            (void)unlink(clear); /* db_open refuses a second name; db_seal_file removes it */
            g_assert_cmpint(db_open(f->path, &schema, NULL, &db), ==, 0);
        } else
            g_assert_cmpint(db_open(f->path, &schema, &options, &db), ==, 0);
        expect_whole(db);
        db_close(db);
        g_assert_cmpint(db_seal_file(f->path, &schema, f->seal), ==, 0);
        expect_sealed(f);
    }
    g_assert_cmpint(was_clear, >, 0); /* the first was killed at once */
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(Fixture *, gconstpointer);
    } tests[] = {
        {"/seal-file/sealed", test_sealed},   {"/seal-file/nothing", test_nothing},
        {"/seal-file/refused", test_refused}, {"/seal-file/interrupted", test_interrupted},
        {"/seal-file/full", test_full},       {"/seal-file/killed", test_killed},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, set_up, tests[i].test, tear_down);
    return g_test_run();
}
