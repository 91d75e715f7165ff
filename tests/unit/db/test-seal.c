/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/db/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libhmsg/db/db.h"
#include "tests/lib/process.h"

#define SECRET_WORD "ALBATROSS"
#define ROWS 200
#define KILLS 40

static const char *const steps[] = {
    "CREATE TABLE birds (id INTEGER PRIMARY KEY, name TEXT NOT NULL, body BLOB NOT NULL); "
    "CREATE TABLE seen (n INTEGER NOT NULL)"};
static const DbSchema schema = {.application_id = 0x74736561, .steps = steps, .n_steps = 1};

typedef struct Fixture {
    char *folder, *path, *log;
    Secret *keys[2];
    DbSeal *seal;
    Db *db;
} Fixture;

static int try_open(Fixture *f)
{
    const DbOptions options = {.seal = f->seal};

    return db_open(f->path, &schema, &options, &f->db);
}

static void reopen(Fixture *f)
{
    f->db = db_close(f->db);
    g_assert_cmpint(try_open(f), ==, 0);
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->path = g_build_filename(f->folder, "store.db", NULL);
    f->log = g_strconcat(f->path, "-wal", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(f->keys); i++)
        g_assert_cmpint(secret_new_random(DB_SEAL_KEY_SIZE, &f->keys[i]), ==, 0);
    g_assert_cmpint(db_seal_new(f->keys[0], &f->seal), ==, 0);
    g_assert_cmpint(try_open(f), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    db_close(f->db);
    db_seal_free(f->seal);
    for (size_t i = 0; i < G_N_ELEMENTS(f->keys); i++)
        secret_free(f->keys[i]);
    g_free(f->log);
    g_free(f->path);
    test_folder_remove(f->folder);
}

/* Rows of different sizes, some over several pages. */
static void insert(Fixture *f, int from, int n)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    g_autofree char *body = g_strnfill(20000, 'x');

    g_assert_cmpint(db_prepare(f->db, "INSERT INTO birds VALUES (?, '" SECRET_WORD "', ?)", &s), ==, 0);
    g_assert_cmpint(db_begin(f->db), ==, 0);
    for (int i = from; i < from + n; i++) {
        memcpy(body, SECRET_WORD, strlen(SECRET_WORD));
        db_bind_number(s, 1, i);
        db_bind_bytes(s, 2, body, (size_t)(i * 997 % 20000) + 1);
        g_assert_cmpint(db_run(s), ==, 0);
    }
    g_assert_cmpint(db_commit(f->db), ==, 0);
}

static int count(Db *db, const char *sql, int64_t *ret)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    bool row = false;
    int r = db_prepare(db, sql, &s);

    if (r == 0)
        r = db_step(s, &row);
    if (r == 0)
        *ret = row ? db_column_number(s, 0) : -1;
    return r;
}

static int64_t rows(Fixture *f)
{
    int64_t n = -1;

    g_assert_cmpint(count(f->db, "SELECT count(*) FROM birds WHERE name = '" SECRET_WORD "'", &n), ==, 0);
    return n;
}

static void expect_nothing_readable(const char *path)
{
    static const char *const words[] = {SECRET_WORD, "SQLite", "CREATE", "birds", "xxxxxxxx"};
    g_autofree char *bytes = NULL;
    gsize n = 0;

    g_assert_true(g_file_get_contents(path, &bytes, &n, NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        if (memmem(bytes, n, words[i], strlen(words[i])))
            g_error("%s has \"%s\"", path, words[i]);
}

static void test_hidden(Fixture *f, gconstpointer data)
{
    g_autoptr(GDir) folder = g_dir_open(f->folder, 0, NULL);
    const char *name;

    insert(f, 0, ROWS);
    expect_nothing_readable(f->log);
    g_assert_cmpint(db_checkpoint(f->db), ==, 0);
    g_assert_cmpint(db_exec(f->db, "UPDATE birds SET name = name || 'ES'"), ==, 0);
    expect_nothing_readable(f->path);
    expect_nothing_readable(f->log);
    g_assert_cmpint(db_check(f->db), ==, 0);
    reopen(f);
    g_assert_cmpint(db_check(f->db), ==, 0);
    g_assert_cmpint(rows(f), ==, 0);
    g_assert_cmpint(db_exec(f->db, "UPDATE birds SET name = '" SECRET_WORD "'"), ==, 0);
    g_assert_cmpint(rows(f), ==, ROWS);
    g_assert_cmpint(db_exec(f->db, "DELETE FROM birds WHERE id % 3 = 0"), ==, 0);
    g_assert_cmpint(db_check(f->db), ==, 0);
    while ((name = g_dir_read_name(folder)))
        g_assert_true(strcmp(name, "store.db") == 0 || strcmp(name, "store.db-wal") == 0 ||
                      strcmp(name, "store.db.lock") == 0);
    g_assert_cmpint(db_copy(f->db, "/nowhere"), ==, -ENOTSUP);
}

static void test_other_key(Fixture *f, gconstpointer data)
{
    _cleanup_(db_seal_freep) DbSeal *other = NULL;
    const DbOptions options = {.seal = NULL};
    DbSeal *ours = f->seal;

    insert(f, 0, 10);
    f->db = db_close(f->db);
    g_assert_cmpint(db_seal_new(f->keys[1], &other), ==, 0);
    f->seal = other;
    g_assert_cmpint(try_open(f), ==, -EBADMSG);
    g_assert_cmpint(db_open(f->path, &schema, &options, &f->db), ==, -EBADMSG);
    f->seal = ours;
    g_assert_cmpint(try_open(f), ==, 0);
    g_assert_cmpint(rows(f), ==, 10);

    /* and a store in clear is none of ours */
    g_autofree char *clear = g_build_filename(f->folder, "clear.db", NULL);
    Db *db = NULL;
    g_assert_cmpint(db_open(clear, &schema, NULL, &db), ==, 0);
    db_close(db);
    const DbOptions sealed = {.seal = f->seal};
    g_assert_cmpint(db_open(clear, &schema, &sealed, &db), ==, -EBADMSG);
    g_assert_cmpint(db_seal_change(f->seal, f->keys[1]), ==, 0);
    g_assert_cmpint(db_seal_change(f->seal, f->keys[0]), ==, -EBUSY);
}

static void change_byte(const char *path, off_t at)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pread(fd, &byte, 1, at), ==, 1);
    byte ^= 0x10;
    g_assert_cmpint(pwrite(fd, &byte, 1, at), ==, 1);
    close(fd);
}

/* Opens, reads all, and says what went wrong. */
static int read_all(Fixture *f)
{
    int64_t n;
    int r = try_open(f);

    if (r == 0)
        r = count(f->db, "SELECT sum(length(body)) FROM birds", &n);
    if (r == 0)
        r = db_check(f->db);
    f->db = db_close(f->db);
    return r;
}

static void test_changed(Fixture *f, gconstpointer data)
{
    struct stat st;

    insert(f, 0, 20);
    g_assert_cmpint(db_checkpoint(f->db), ==, 0);
    f->db = db_close(f->db);
    g_assert_cmpint(stat(f->path, &st), ==, 0);
    g_assert_cmpint(st.st_size % DB_SEAL_PAGE_SIZE, ==, 0);
    for (off_t page = 0; page < st.st_size; page += DB_SEAL_PAGE_SIZE) {
        off_t at = page + (page * 7 / DB_SEAL_PAGE_SIZE * 131) % DB_SEAL_PAGE_SIZE;

        change_byte(f->path, at);
        g_assert_cmpint(read_all(f), ==, -EBADMSG);
        change_byte(f->path, at);
    }
    g_assert_cmpint(read_all(f), ==, 0);
}

/* A page that is right, but of another place. */
static void test_moved(Fixture *f, gconstpointer data)
{
    uint8_t a[DB_SEAL_PAGE_SIZE], b[DB_SEAL_PAGE_SIZE];
    const off_t second = DB_SEAL_PAGE_SIZE, third = 2 * DB_SEAL_PAGE_SIZE;

    insert(f, 0, 20);
    g_assert_cmpint(db_checkpoint(f->db), ==, 0);
    f->db = db_close(f->db);
    int fd = open(f->path, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pread(fd, a, sizeof(a), second), ==, sizeof(a));
    g_assert_cmpint(pread(fd, b, sizeof(b), third), ==, sizeof(b));
    g_assert_cmpint(pwrite(fd, b, sizeof(b), second), ==, sizeof(b));
    g_assert_cmpint(pwrite(fd, a, sizeof(a), third), ==, sizeof(a));
    g_assert_cmpint(read_all(f), ==, -EBADMSG);
    g_assert_cmpint(pwrite(fd, a, sizeof(a), second), ==, sizeof(a));
    g_assert_cmpint(pwrite(fd, b, sizeof(b), third), ==, sizeof(b));
    close(fd);
    g_assert_cmpint(read_all(f), ==, 0);
}

static void copy(const char *from, const char *to)
{
    g_autofree char *bytes = NULL;
    gsize n = 0;

    g_assert_true(g_file_get_contents(from, &bytes, &n, NULL));
    g_assert_true(g_file_set_contents_full(to, bytes, (gssize)n, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
}

/* What the log holds comes back after a crash; a log that is cut off or changed ends where that is. */
static void test_log(Fixture *f, gconstpointer data)
{
    g_autofree char *crashed = g_build_filename(f->folder, "crashed.db", NULL);
    g_autofree char *crashed_log = g_strconcat(crashed, "-wal", NULL);
    const DbOptions options = {.seal = f->seal};
    struct stat st;

    for (int i = 0; i < 10; i++)
        insert(f, i, 1);
    g_assert_cmpint(stat(f->log, &st), ==, 0);
    int64_t before = 10;
    for (off_t cut = st.st_size; cut > 0; cut -= 5000) {
        int64_t n = 0;
        Db *db = NULL;

        copy(f->path, crashed);
        copy(f->log, crashed_log);
        g_assert_cmpint(truncate(crashed_log, cut), ==, 0);
        if (cut % 2 == 0 && cut < st.st_size)
            change_byte(crashed_log, cut - 1);
        int r = db_open(crashed, &schema, &options, &db);
        /* without its first page there is no store */
        if (r == 0 && count(db, "SELECT count(*) FROM birds", &n) == 0) {
            g_assert_cmpint(n, <=, before);
            g_assert_cmpint(db_check(db), ==, 0);
            before = n;
        }
        db_close(db);
        (void)unlink(crashed_log);
    }
    g_assert_cmpint(before, <, 10);
}

/* Half of the first page is of before and half of after: the log has it whole. */
static void test_torn(Fixture *f, gconstpointer data)
{
    static const off_t torn[] = {0, 20, 512, 2048, DB_SEAL_PAGE_SIZE - 5};
    g_autofree char *crashed = g_build_filename(f->folder, "crashed.db", NULL);
    g_autofree char *crashed_log = g_strconcat(crashed, "-wal", NULL);
    _cleanup_(db_seal_freep) DbSeal *other = NULL;
    const DbOptions options = {.seal = f->seal};
    struct stat st;
    Db *db = NULL;

    g_assert_cmpint(db_seal_new(f->keys[1], &other), ==, 0);
    const DbOptions others = {.seal = other};
    g_assert_cmpint(db_checkpoint(f->db), ==, 0);
    insert(f, 0, 20);
    for (size_t i = 0; i < G_N_ELEMENTS(torn); i++) {
        copy(f->path, crashed);
        copy(f->log, crashed_log);
        g_assert_cmpint(stat(crashed_log, &st), ==, 0);
        change_byte(crashed, torn[i]);
        /* a key that is wrong does the log no harm */
        g_assert_cmpint(db_open(crashed, &schema, &others, &db), ==, -EBADMSG);
        off_t size = st.st_size;
        g_assert_cmpint(stat(crashed_log, &st), ==, 0);
        g_assert_cmpint(st.st_size, ==, size);
        g_assert_cmpint(db_open(crashed, &schema, &options, &db), ==, 0);
        int64_t n = 0;
        g_assert_cmpint(count(db, "SELECT count(*) FROM birds", &n), ==, 0);
        g_assert_cmpint(n, ==, 20);
        g_assert_cmpint(db_check(db), ==, 0);
        db = db_close(db);
        /* which has also carried it over; without a log it is simply damaged */
        g_assert_cmpint(db_open(crashed, &schema, &options, &db), ==, 0);
        db = db_close(db);
        g_assert_cmpint(access(crashed_log, F_OK), <, 0);
        change_byte(crashed, torn[i]);
        g_assert_cmpint(db_open(crashed, &schema, &options, &db), ==, -EBADMSG);
    }
}

/* Writes until it is killed, and tells by a byte of each commit. */
static void write_until_killed(Fixture *f, int fd)
{
    for (;;) {
        g_assert_cmpint(db_exec(f->db, "INSERT INTO seen SELECT count(*) FROM seen; "
                                       "INSERT INTO birds SELECT coalesce(max(id), 0) + 1, '" SECRET_WORD
                                       "', randomblob(9000) FROM birds"),
                        ==, 0);
        g_assert_cmpint(write(fd, "c", 1), ==, 1);
    }
}

static void test_killed(Fixture *f, gconstpointer data)
{
    int64_t told = 0, n = 0;

    f->db = db_close(f->db);
    for (int i = 0; i < KILLS; i++) {
        char bytes[256];
        int ends[2];
        ssize_t k;

        g_assert_cmpint(pipe(ends), ==, 0);
        pid_t child = fork();
        g_assert_cmpint(child, >=, 0);
        if (child == 0) {
            g_assert_cmpint(try_open(f), ==, 0);
            close(ends[0]);
            write_until_killed(f, ends[1]);
        }
        close(ends[1]);
        /* a different number of commits each time */
        for (ssize_t wanted = 1 + i % 7; wanted > 0; wanted -= k) {
            k = read(ends[0], bytes, (size_t)wanted);
            g_assert_cmpint(k, >, 0);
            told += k;
        }
        g_usleep((gulong)(i * 37 % 400));
        g_assert_cmpint(kill(child, SIGKILL), ==, 0);
        g_assert_cmpint(waitpid(child, NULL, 0), ==, child);
        while ((k = read(ends[0], bytes, sizeof(bytes))) > 0)
            told += k;
        close(ends[0]);
        g_assert_cmpint(try_open(f), ==, 0);
        g_assert_cmpint(count(f->db, "SELECT count(*) FROM seen", &n), ==, 0);
        g_assert_cmpint(n, >=, told); /* what was committed is there */
        g_assert_cmpint(db_check(f->db), ==, 0);
        f->db = db_close(f->db);
    }
    g_assert_cmpint(try_open(f), ==, 0);
}

/* After it the old key opens nothing that is there, and everything is. */
static void test_resealed(Fixture *f, gconstpointer data)
{
    DbSeal *ours = f->seal;

    insert(f, 0, ROWS);
    g_assert_cmpint(db_seal_change(f->seal, f->keys[1]), ==, 0);
    insert(f, ROWS, 10); /* with both */
    reopen(f);
    g_assert_cmpint(rows(f), ==, ROWS + 10);
    g_assert_cmpint(db_reseal(f->db), ==, 0);
    db_seal_forget(f->seal);
    g_assert_cmpint(rows(f), ==, ROWS + 10);
    g_assert_cmpint(db_check(f->db), ==, 0);
    insert(f, ROWS + 10, 10);
    f->db = db_close(f->db);

    _cleanup_(db_seal_freep) DbSeal *old = NULL, *new = NULL;
    g_assert_cmpint(db_seal_new(f->keys[0], &old), ==, 0);
    g_assert_cmpint(db_seal_new(f->keys[1], &new), ==, 0);
    f->seal = old;
    g_assert_cmpint(try_open(f), ==, -EBADMSG);
    f->seal = new;
    g_assert_cmpint(try_open(f), ==, 0);
    g_assert_cmpint(rows(f), ==, ROWS + 20);
    f->db = db_close(f->db);
    f->seal = ours;
}

/* A store of a fixed size, as a disk that is full. */
static void test_full(Fixture *f, gconstpointer data)
{
    const DbOptions options = {.seal = f->seal, .size_max = (uint64_t)64 * DB_SEAL_PAGE_SIZE};

    f->db = db_close(f->db);
    g_assert_cmpint(db_open(f->path, &schema, &options, &f->db), ==, 0);
    int r = 0;
    for (int i = 0; i < 100 && r == 0; i++)
        r = db_exec(f->db, "INSERT INTO birds SELECT NULL, '" SECRET_WORD "', randomblob(9000)");
    g_assert_cmpint(r, >, 0);
    int64_t n = rows(f);
    g_assert_cmpint(n, >, 0);
    reopen(f);
    g_assert_cmpint(rows(f), ==, n);
    g_assert_cmpint(db_check(f->db), ==, 0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(Fixture *, gconstpointer);
    } tests[] = {
        {"/seal/hidden", test_hidden},   {"/seal/other-key", test_other_key},
        {"/seal/changed", test_changed}, {"/seal/moved", test_moved},
        {"/seal/log", test_log},         {"/seal/torn", test_torn},
        {"/seal/killed", test_killed},   {"/seal/resealed", test_resealed},
        {"/seal/full", test_full},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, set_up, tests[i].test, tear_down);
    return g_test_run();
}
