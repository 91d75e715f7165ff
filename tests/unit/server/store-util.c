/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/server/store-util.h"

#include <semaphore.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/proof.h"
#include "libhmsg/db/db.h"
#include "server/store-postgres.h"
#include "server/store-sqlite-internal.h"

#define ALONE "ALTER SYSTEM RESET synchronous_standby_names"
#define IN_VAIN "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (nobody)'"
#define BODIES 512
#define USERS 100
#define LOG_HEADER_SIZE 32
#define FRAME_HEADER_SIZE 24
#define PAGE_SIZE 4096

typedef struct Answer {
    sem_t come;
} Answer;

static sem_t blocked, go_on;

static const uint8_t *repeated(uint8_t byte)
{
    static uint8_t all[256][KID_SIZE];
    memset(all[byte], byte, KID_SIZE);
    return all[byte];
}

const uint8_t *test_skid(uint8_t user)
{
    return repeated(user);
}

const uint8_t *test_kid(uint8_t user)
{
    return repeated((uint8_t)(USERS + user));
}

StoreIdentity *test_identity(uint8_t user, const char *name)
{
    StoreIdentity *i = g_new0(StoreIdentity, 1);
    memcpy(i->skid, test_skid(user), KID_SIZE);
    memcpy(i->kid, test_kid(user), KID_SIZE);
    g_strlcpy(i->name, name, sizeof(i->name));
    g_snprintf(i->statement, sizeof(i->statement), "statement %u", user);
    memcpy(i->sign, "sign", 4);
    memcpy(i->decrypt, "decrypt", 7);
    i->sign_size = 4;
    i->decrypt_size = 7;
    i->generation = 1;
    i->created = 1;
    return i;
}

const char *test_body(unsigned number, size_t n)
{
    static char *bodies[BODIES];
    g_assert_cmpuint(number, <, BODIES);
    g_assert_cmpuint(n, <=, 300000);
    if (!bodies[number]) {
        bodies[number] = g_malloc(300000);
        for (size_t i = 0; i < 300000; i++)
            bodies[number][i] = (char)(i * 31 + i / 251 + number * 7);
        memcpy(bodies[number], &number, sizeof(number));
    }
    return bodies[number];
}

/* As the relay's key does it, but without RSA. */
static int wrap(void *userdata, const Secret *key, Buf *ret)
{
    uint8_t sealed[AT_REST_WRAPPED_SIZE];
    _cleanup_(secret_freep) Secret *with = NULL;
    const AtRestPlace place = {.table = 't'};
    g_assert_cmpint(secret_new_copy(userdata, AT_REST_KEY_SIZE, &with), ==, 0);
    int r = at_rest_seal(with, &place, secret_bytes(key), AT_REST_KEY_SIZE, sealed);
    return r == 0 ? buf_append(ret, sealed, sizeof(sealed)) : r;
}

static int unwrap(void *userdata, const void *wrapped, size_t n, Secret **ret)
{
    _cleanup_(secret_freep) Secret *with = NULL, *key = NULL;
    const AtRestPlace place = {.table = 't'};
    if (n != AT_REST_WRAPPED_SIZE)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    g_assert_cmpint(secret_new_copy(userdata, AT_REST_KEY_SIZE, &with), ==, 0);
    g_assert_cmpint(secret_new(AT_REST_KEY_SIZE, &key), ==, 0);
    int r = at_rest_open(with, &place, wrapped, n, secret_data(key));
    if (r == 0)
        *ret = TAKE_PTR(key);
    return r;
}

static char keeper_key[] = "0123456789abcdef0123456789abcdef",
            other_key[] = "another one, which is no good her";

const StoreKeeper *test_store_keeper(void)
{
    static const StoreKeeper keeper = {wrap, unwrap, keeper_key};
    return &keeper;
}

const StoreKeeper *test_other_keeper(void)
{
    static const StoreKeeper keeper = {wrap, unwrap, other_key};
    return &keeper;
}

void test_read_file(StoreFile *file, Buf *ret)
{
    _cleanup_(store_file_freep) StoreFile *f = file;
    uint8_t piece[7000];
    uint64_t at = 0;
    ssize_t n = file ? 1 : 0;
    while (n > 0) {
        n = store_file_read(f, at, piece, sizeof(piece));
        g_assert_cmpint(n, >=, 0);
        g_assert_cmpint(buf_append(ret, piece, (size_t)n), ==, 0);
        at += (uint64_t)n;
    }
}

static void answered(StoreWrite *w)
{
    sem_post(&((Answer *)w->userdata)->come);
}

void test_write_begin(Store *s, StoreWrite *w)
{
    Answer *a = g_new0(Answer, 1);
    g_assert_cmpint(sem_init(&a->come, 0, 0), ==, 0);
    w->done = answered;
    w->userdata = a;
    g_assert_cmpint(store_write(s, w), ==, 0);
}

int test_write_end(StoreWrite *w)
{
    Answer *a = w->userdata;
    while (sem_wait(&a->come) < 0)
        continue;
    g_free(a);
    return w->result;
}

int test_write(Store *s, StoreWrite *w)
{
    test_write_begin(s, w);
    return test_write_end(w);
}

int test_register(Store *s, uint8_t user, const char *name)
{
    g_autofree StoreIdentity *i = test_identity(user, name);
    StoreWrite w = {.kind = STORE_REGISTER, .reg.identity = i};
    return test_write(s, &w);
}

void test_put_init(StoreWrite *w, uint8_t to, uint8_t from, int64_t now, const char *body, size_t n,
                   int64_t expires)
{
    *w = (StoreWrite){.kind = STORE_PUT};
    memcpy(w->put.mailbox, test_kid(to), KID_SIZE);
    memcpy(w->put.submitter, test_skid(from), KID_SIZE);
    w->put.body = body;
    w->put.size = n;
    w->put.accepted = now;
    w->put.expires = expires;
    g_assert_cmpint(message_id(w->put.mailbox, body, n, w->put.id), ==, 0);
}

int test_put(Store *s, uint8_t to, uint8_t from, int64_t now, const char *body, size_t n, int64_t expires,
             StoreWrite *ret)
{
    test_put_init(ret, to, from, now, body, n, expires);
    return test_write(s, ret);
}

int test_acknowledge(Store *s, uint8_t user, const uint8_t *ids, size_t n, StoreWrite *ret)
{
    uint8_t *copy = g_memdup2(ids, n * ID_SIZE);
    *ret = (StoreWrite){.kind = STORE_ACKNOWLEDGE, .acknowledge = {.ids = copy, .n = n}};
    memcpy(ret->acknowledge.mailbox, test_kid(user), KID_SIZE);
    int r = test_write(s, ret);
    g_free(copy);
    return r;
}

static void stand_still(StoreWrite *w)
{
    g_free(w);
    sem_post(&blocked);
    while (sem_wait(&go_on) < 0)
        continue;
}

bool test_store_remote(void)
{
    return g_strcmp0(g_getenv("HMSG_TEST_STORE"), "postgres") == 0;
}

/* lint: global: one server for all tests of the program, which ends with it */
static TestPostgres *server;

static void end_server(void)
{
    test_postgres_free(server);
    server = NULL;
}

TestPostgres *test_store_server(void)
{
    if (!server) {
        server = test_postgres_new(NULL);
        (void)atexit(end_server);
    }
    return server;
}

bool test_answer_is(const char *sql, const char *expected)
{
    g_autofree char *answer = test_postgres_ask(test_store_server(), sql);
    return g_strcmp0(answer, expected) == 0;
}

void test_store_set(const char *sql, const char *name, const char *value)
{
    g_autofree char *show = g_strdup_printf("SHOW %s", name);
    test_postgres_do(test_store_server(), sql);
    test_postgres_do(test_store_server(), "SELECT pg_reload_conf()");
    TEST_AWAIT(test_answer_is(show, value));
}

void test_wait_in_vain(void)
{
    test_store_set(IN_VAIN, "synchronous_standby_names", "ANY 1 (nobody)");
    TEST_AWAIT(test_postgres_waits(test_store_server()));
}

void test_wait_for_nobody(void)
{
    test_store_set(ALONE, "synchronous_standby_names", "");
    TEST_AWAIT(!test_postgres_waits(test_store_server()));
}

char *test_store_connection(void)
{
    (void)test_store_server();
    TestPostgres *const servers[] = {server, NULL};
    return test_postgres_connection(servers);
}

int test_store_open(const char *folder, const StoreLimits *limits, const StoreKeeper *keeper, Store **ret)
{
    if (!test_store_remote())
        return store_sqlite_open(folder, limits, keeper, ret);
    char error[POSTGRES_ERROR_SIZE];
    PostgresOptions o = {.connection = test_store_connection()};
    int r = store_postgres_open(&o, folder, limits, keeper, ret, error);
    if (r != 0)
        g_test_message("%s", error);
    postgres_options_done(&o);
    return r;
}

char *test_store_ask(const char *folder, const char *sql)
{
    if (test_store_remote())
        return test_postgres_ask(test_store_server(), sql);
    g_autofree char *path = g_build_filename(folder, "relay.sqlite", NULL);
    Db *db = NULL;
    DbStatement *statement = NULL;
    bool row = false;
    g_assert_cmpint(db_open_reader(path, &store_sqlite_schema, &db), ==, 0);
    g_assert_cmpint(db_prepare(db, sql, &statement), ==, 0);
    g_assert_cmpint(db_step(statement, &row), ==, 0);
    g_assert_true(row);
    char *text = g_strdup(db_column_text(statement, 0, NULL));
    (void)db_statement_free(statement);
    (void)db_close(db);
    return text;
}

void store_fixture_change(StoreFixture *f, const char *sql)
{
    Db *db = NULL;
    if (test_store_remote()) {
        test_postgres_do(test_store_server(), sql);
        return;
    }
    store_fixture_close(f);
    g_assert_cmpint(db_open(f->path, &store_sqlite_schema, NULL, &db), ==, 0);
    g_assert_cmpint(db_exec(db, sql), ==, 0);
    (void)db_close(db);
    store_fixture_open(f);
}

void store_fixture_open(StoreFixture *f)
{
    g_assert_cmpint(test_store_open(f->folder, &f->limits, test_store_keeper(), &f->store), ==, 0);
    g_assert_cmpint(store_reader_new(f->store, &f->reader), ==, 0);
}

void store_fixture_close(StoreFixture *f)
{
    f->reader = store_reader_free(f->reader);
    f->store = store_free(f->store);
}

void store_fixture_set_up(StoreFixture *f)
{
    f->folder = test_folder_new();
    f->path = g_build_filename(f->folder, "relay.sqlite", NULL);
    store_limits_init(&f->limits);
    f->limits.space_reserve = 0;
    if (test_store_remote())
        test_postgres_do(test_store_server(), "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    store_fixture_open(f);
}

void store_fixture_tear_down(StoreFixture *f)
{
    store_fixture_close(f);
    g_free(f->path);
    test_folder_remove(f->folder);
}

void test_block(Store *s)
{
    StoreWrite *w = g_new0(StoreWrite, 1);
    g_assert_cmpint(sem_init(&blocked, 0, 0), ==, 0);
    g_assert_cmpint(sem_init(&go_on, 0, 0), ==, 0);
    w->kind = STORE_UNREGISTER; /* of nobody */
    w->done = stand_still;
    g_assert_cmpint(store_write(s, w), ==, 0);
    while (sem_wait(&blocked) < 0)
        continue;
}

void test_unblock(void)
{
    sem_post(&go_on);
}

unsigned test_count_commits(const char *path)
{
    g_autofree char *content = NULL;
    gsize n = 0;
    unsigned commits = 0;
    g_assert_true(g_file_get_contents(path, &content, &n, NULL));
    for (gsize at = LOG_HEADER_SIZE; at + FRAME_HEADER_SIZE <= n; at += FRAME_HEADER_SIZE + PAGE_SIZE) {
        guint32 size = 0;
        memcpy(&size, content + at + 4, sizeof(size));
        commits += size != 0;
    }
    return commits;
}

unsigned test_count_files(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    GDir *d = g_dir_open(path, 0, NULL);
    unsigned n = 0;
    g_assert_nonnull(d);
    while (g_dir_read_name(d))
        n++;
    g_dir_close(d);
    return n;
}

static bool file_has(const char *path, const void *bytes, size_t n)
{
    g_autofree char *content = NULL;
    gsize size = 0;
    /* it may go meanwhile */
    return g_file_get_contents(path, &content, &size, NULL) && memmem(content, size, bytes, n);
}

bool test_files_have(const char *folder, const void *bytes, size_t n)
{
    bool found = false;
    const char *name;
    GDir *d = g_dir_open(folder, 0, NULL);
    g_assert_nonnull(d);
    while (!found && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        found = g_file_test(path, G_FILE_TEST_IS_DIR) ? test_files_have(path, bytes, n)
                                                      : file_has(path, bytes, n);
    }
    g_dir_close(d);
    return found;
}
