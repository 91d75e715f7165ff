/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* PostgreSQL servers for tests: each in a new folder, on a Unix socket there, as the user nobody when the
 * test is root, with fsync. They die with the test. HMSG_POSTGRES_BIN is the folder of the programs. */

#include <stdbool.h>

typedef struct TestPostgres TestPostgres;

bool test_postgres_available(void);
/* settings: lines for postgresql.conf, or NULL. */
TestPostgres *test_postgres_new(const char *settings);
/* Follows primary under a name, from a copy of it. */
TestPostgres *test_postgres_standby(const TestPostgres *primary, const char *name);
void test_postgres_free(TestPostgres *p); /* with its folder; takes NULL */

/* SIGKILL to all of its processes; and again, as it was left. */
void test_postgres_kill(TestPostgres *p);
void test_postgres_start(TestPostgres *p);
/* Starts it again, so that it listens at an IPv4 address as well, to whoever comes from there; once. */
void test_postgres_listen(TestPostgres *p, const char *address);
/* SIGSTOP or SIGCONT to all of its processes. */
void test_postgres_freeze(TestPostgres *p, bool frozen);
/* A standby becomes a primary, and is one when this returns. */
void test_postgres_promote(TestPostgres *p);

/* As libpq takes it; g_free. Several servers, up to NULL: the one that is a primary. */
char *test_postgres_connection(TestPostgres *const *p);
/* Runs statements, and returns what the last one gave, or NULL when it failed; g_free. */
char *test_postgres_ask(const TestPostgres *p, const char *sql);
/* Which must not fail. */
void test_postgres_do(const TestPostgres *p, const char *sql);
/* Whether a commit waits for a standby: what is set reaches all of the server's processes by and by. */
bool test_postgres_waits(const TestPostgres *p);
const char *test_postgres_folder(const TestPostgres *p);
