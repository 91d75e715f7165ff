/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by the tests of the relay's store. Users are numbers: user n has skid n, n, n... and kid 100 + n. */

#include <glib.h>

#include "server/at-rest.h"
#include "server/store.h"
#include "tests/lib/postgres.h"
#include "tests/lib/process.h"

const uint8_t *test_skid(uint8_t user);
const uint8_t *test_kid(uint8_t user);
StoreIdentity *test_identity(uint8_t user, const char *name); /* g_free */
/* A body of its own for each number; n up to 300000; valid until the process ends. */
const char *test_body(unsigned number, size_t n);

/* Wraps keys under a key of the tests; the second is another. */
const StoreKeeper *test_store_keeper(void);
const StoreKeeper *test_other_keeper(void);

/* Appends all of file, which it frees; file may be NULL. */
void test_read_file(StoreFile *file, Buf *ret);

/* Waits for the answer, or in two steps; returns the result. */
int test_write(Store *s, StoreWrite *w);
void test_write_begin(Store *s, StoreWrite *w);
int test_write_end(StoreWrite *w);

int test_register(Store *s, uint8_t user, const char *name);
void test_put_init(StoreWrite *w, uint8_t to, uint8_t from, int64_t now, const char *body, size_t n,
                   int64_t expires);
int test_put(Store *s, uint8_t to, uint8_t from, int64_t now, const char *body, size_t n, int64_t expires,
             StoreWrite *ret);
int test_acknowledge(Store *s, uint8_t user, const uint8_t *ids, size_t n, StoreWrite *ret);

/* Whether this run is of the store in PostgreSQL (HMSG_TEST_STORE=postgres); what is of SQLite's files alone
 * is left out then. All stores of a test are in one database, which each fixture empties. */
bool test_store_remote(void);
TestPostgres *test_store_server(void);
char *test_store_connection(void); /* g_free */
bool test_answer_is(const char *sql, const char *expected);
/* Has the server take over a setting; new connections have it then, and those that are there. */
void test_store_set(const char *sql, const char *name, const char *value);
/* From now on commits wait for a standby that does not come, or for none again. */
void test_wait_in_vain(void);
void test_wait_for_nobody(void);
#define TEST_WAITS "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'" /* how many do */
int test_store_open(const char *folder, const StoreLimits *limits, const StoreKeeper *keeper, Store **ret);
/* One value of the database, as text; g_free. */
char *test_store_ask(const char *folder, const char *sql);

/* A store in a folder of its own, that fills what disk there is, and one reader of it. */
typedef struct StoreFixture {
    char *folder, *path; /* path: of the database */
    StoreLimits limits;
    Store *store;
    StoreReader *reader;
} StoreFixture;
void store_fixture_set_up(StoreFixture *f);
void store_fixture_tear_down(StoreFixture *f);
void store_fixture_open(StoreFixture *f);
void store_fixture_close(StoreFixture *f); /* the folder stays */
/* Somebody else writes in the database; open again afterwards. */
void store_fixture_change(StoreFixture *f, const char *sql);

/* The writer thread stands still in an answer between these two: what comes meanwhile is one batch. */
void test_block(Store *s);
void test_unblock(void);

/* Commits that a write-ahead log holds (file format of SQLite, section 4.1). */
unsigned test_count_commits(const char *path);
unsigned test_count_files(const char *folder, const char *name);
/* Whether a file of the folder, or of a folder in it, holds these bytes. */
bool test_files_have(const char *folder, const void *bytes, size_t n);
