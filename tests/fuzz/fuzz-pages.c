/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A sealed store that somebody has changed while nobody used it: its pages, its log, or both. What opens
 * still has nothing but what was written. The input is a list of changes: a letter, which is large when it
 * means the log, and numbers of three bytes: 'x' flips bits at a place (and one byte says which), 'c' cuts
 * the file, 'm' puts a page where another was, 'e' makes it longer by what stands at a place. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libhmsg/base/file.h"
#include "libhmsg/db/db.h"
#include "tests/fuzz/fuzz.h"

#define CHANGES_MAX 16u
#define FILE_SIZE_MAX (1u << 20)
#define ROWS 40
#define VALUE_SIZE 700u
#define FRAME_SIZE (DB_SEAL_PAGE_SIZE + 24u)
#define LOG_HEAD_SIZE 32u

static const char *const steps[] = {"CREATE TABLE t(id INTEGER PRIMARY KEY, value BLOB NOT NULL)"};
static const DbSchema schema = {0x46555a5a, steps, 1};

typedef struct Subject {
    char folder[32], store[48], log[48];
    DbSeal *seal;
    Buf files[2]; /* the store and its log, as they were left */
} Subject;

/* Not for any test of values: each byte is the number of the row and of the time that it was written. */
static void fill(uint8_t value[static VALUE_SIZE], int64_t id, unsigned time)
{
    memset(value, (int)(id * 4 + time), VALUE_SIZE);
}

static void write_rows(Db *db, unsigned time, int64_t step)
{
    _cleanup_(db_statement_freep) DbStatement *put = NULL;
    uint8_t value[VALUE_SIZE];

    fuzz_check(db_prepare(db, "INSERT OR REPLACE INTO t(id, value) VALUES(?1, ?2)", &put) == 0,
               "a statement");
    for (int64_t id = 1; id <= ROWS; id += step) {
        fill(value, id, time);
        db_bind_number(put, 1, id);
        db_bind_bytes(put, 2, value, sizeof(value));
        fuzz_check(db_run(put) == 0, "a row");
    }
}

static void remove_files(const Subject *s)
{
    static const char *const more[] = {"", "-wal", ".lock"};
    char path[64];

    for (size_t i = 0; i < ELEMENTSOF(more); i++) {
        (void)snprintf(path, sizeof(path), "%s%s", s->store, more[i]);
        (void)unlink(path);
    }
}

static Subject subject = {.seal = NULL};

static void at_end(void)
{
    remove_files(&subject);
    (void)rmdir(subject.folder);
    subject.seal = db_seal_free(subject.seal);
    buf_done(&subject.files[0]);
    buf_done(&subject.files[1]);
}

/* Rows in the store itself, and later ones in the log alone. */
static void begin(Subject *s)
{
    _cleanup_(secret_freep) Secret *key = NULL;
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    Db *db = NULL;

    if (s->seal)
        return;
    (void)snprintf(s->folder, sizeof(s->folder), "%s/hmsg-fuzz.XXXXXX", parent);
    fuzz_must(mkdtemp(s->folder) != NULL, "a folder");
    (void)snprintf(s->store, sizeof(s->store), "%s/db", s->folder);
    (void)snprintf(s->log, sizeof(s->log), "%s/db-wal", s->folder);
    fuzz_check(secret_new(DB_SEAL_KEY_SIZE, &key) == 0 && db_seal_new(key, &s->seal) == 0, "memory");
    (void)atexit(at_end);
    const DbOptions options = {.seal = s->seal};
    fuzz_check(db_open(s->store, &schema, &options, &db) == 0, "a store");
    write_rows(db, 1, 1);
    fuzz_check(db_checkpoint(db) == 0, "without a log");
    write_rows(db, 2, 2);
    for (size_t i = 0; i < ELEMENTSOF(s->files); i++) {
        s->files[i] = BUF_MAX(FILE_SIZE_MAX);
        fuzz_check(file_read(AT_FDCWD, i == 0 ? s->store : s->log, &s->files[i]) == 0, "its file");
        fuzz_must(s->files[i].size > 2 * DB_SEAL_PAGE_SIZE, "which has pages");
    }
    (void)db_close(db);
}

typedef struct Input {
    const uint8_t *data;
    size_t size;
} Input;

static size_t take(Input *in, unsigned bytes)
{
    size_t n = 0;

    for (; bytes > 0 && in->size > 0; bytes--, in->size--)
        n = n << 8 | *in->data++;
    return n;
}

/* Where page number n of a file begins. */
static size_t page_at(const Buf *file, bool is_log, size_t n)
{
    size_t begin = is_log ? LOG_HEAD_SIZE : 0, size = is_log ? FRAME_SIZE : DB_SEAL_PAGE_SIZE;
    size_t pages = file->size > begin ? (file->size - begin) / size : 0;

    return pages > 0 ? begin + n % pages * size : 0;
}

static void change(Input *in, Buf *file, bool is_log, uint8_t what)
{
    const size_t size = is_log ? FRAME_SIZE : DB_SEAL_PAGE_SIZE;
    size_t at = take(in, 3);

    if (file->size == 0)
        return;
    if (what == 'x') {
        file->data[at % file->size] ^= (uint8_t)take(in, 1);
    } else if (what == 'c') {
        buf_truncate(file, at % file->size);
    } else if (what == 'm') {
        size_t from = page_at(file, is_log, at), to = page_at(file, is_log, take(in, 3));

        if (from + size <= file->size && to + size <= file->size)
            memmove(file->data + to, file->data + from, size);
    } else if (what == 'e') {
        size_t from = page_at(file, is_log, at);

        if (from + size <= file->size && buf_reserve(file, size) == 0) {
            memcpy(file->data + file->size, file->data + from, size);
            file->size += size;
        }
    }
}

static void write_file(const char *path, const Buf *file)
{
    _cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    fuzz_must(fd >= 0 && file_write_fd(fd, file->data, file->size) == 0, "a file");
}

static void put_files(const Subject *s, Input *in)
{
    _cleanup_(buf_done) Buf store = BUF_MAX(2u * FILE_SIZE_MAX), log = BUF_MAX(2u * FILE_SIZE_MAX);

    fuzz_check(buf_append(&store, s->files[0].data, s->files[0].size) == 0 &&
                   buf_append(&log, s->files[1].data, s->files[1].size) == 0,
               "memory");
    for (unsigned i = 0; i < CHANGES_MAX && in->size > 0; i++) {
        uint8_t what = (uint8_t)take(in, 1);
        bool is_log = what >= 'A' && what <= 'Z';

        change(in, is_log ? &log : &store, is_log, is_log ? what + ('a' - 'A') : what);
    }
    remove_files(s);
    write_file(s->store, &store);
    if (log.size > 0)
        write_file(s->log, &log);
}

static void look_at_row(DbStatement *q)
{
    uint8_t first[VALUE_SIZE], second[VALUE_SIZE];
    int64_t id = db_column_number(q, 0);
    size_t n = 0;
    const void *value = db_column_bytes(q, 1, &n);

    fuzz_must(id >= 1 && id <= ROWS && n == VALUE_SIZE, "a row that was written");
    fill(first, id, 1);
    fill(second, id, 2);
    fuzz_must(memcmp(value, first, n) == 0 || (id % 2 == 1 && memcmp(value, second, n) == 0),
              "has what was written");
}

/* 0, or why it cannot be read. */
static int look(const Subject *s, int *ret_rows)
{
    const DbOptions options = {.seal = s->seal};
    _cleanup_(db_statement_freep) DbStatement *q = NULL;
    Db *db = NULL;
    bool row = false;
    int r = db_open(s->store, &schema, &options, &db);

    if (r == 0)
        r = db_prepare(db, "SELECT id, value FROM t ORDER BY id", &q);
    if (r == 0)
        r = db_step(q, &row);
    while (r == 0 && row) {
        look_at_row(q);
        (*ret_rows)++;
        r = db_step(q, &row);
    }
    q = db_statement_free(q);
    if (db && r == 0)
        (void)db_check(db);
    (void)db_close(db);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = {data, size};
    int rows = 0;

    begin(&subject);
    put_files(&subject, &in);
    int r = look(&subject, &rows);
    if (size == 0)
        fuzz_check(r == 0 && rows == ROWS, "what nobody has changed is read");
    return 0;
}
