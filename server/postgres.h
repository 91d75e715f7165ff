/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* PostgreSQL behind the functions of libhmsg/db: a connection in pipeline mode, on which statements without
 * rows are sent without waiting, so that a group of changes takes few round trips. A commit has succeeded
 * only when it is on the disk of the primary and, as synchronous_standby_names of the server has it, of
 * standbys; a commit with a warning, or whose answer did not come, has failed: -EIO. A connection that was
 * lost is made again by the next transaction or statement, beside which that is done: those that do not wait
 * for ever wait for it for a second, and fail until it is there. No call waits for the network but so. */

#include "libhmsg/db/db.h"

#define POSTGRES_ERROR_SIZE 512u
#define POSTGRES_PRESENCE "(1213026899)" /* the lock that all connections share */

typedef struct PostgresOptions {
    char *connection;  /* as in section 34.1.1 of PostgreSQL's manual; without a password */
    char *passfile;    /* its path; NULL: none. See section 34.16 there */
    char *certificate; /* of the authority that the server's certificate is checked with; NULL: none */
    bool alone;        /* do not take the lock POSTGRES_PRESENCE */
    bool quorum;       /* refuse a server whose commits wait for no standby, and such commits */
    unsigned patience; /* seconds to wait for an answer, then the connection is lost; 0: for ever */
    const char *guard; /* asked on each new connection, which is given up when it has a row; borrowed */
} PostgresOptions;

int postgres_options_copy(const PostgresOptions *o, PostgresOptions *ret);
void postgres_options_done(PostgresOptions *o);

/* HMSG_ERROR_INVALID_ARGS: error, for people, says what is wrong with the connection's text, or with the
 * environment. Speaks to nobody. */
int postgres_options_check(const PostgresOptions *o, char error[static POSTGRES_ERROR_SIZE]);

/* Copies o. -EACCES: the server refuses the user; -ECONNREFUSED: there is none, or it does not answer;
 * -EROFS: it is no primary, or its commits are not what is asked for. error has what the server said. */
int postgres_open(const PostgresOptions *o, Db **ret, char error[static POSTGRES_ERROR_SIZE]);

/* The same without a connection, which the first transaction or statement makes. */
int postgres_new(const PostgresOptions *o, Db **ret);

/* Any thread, returns at once: the server is asked to give up what it is at, and within seconds whatever is
 * waited for ends, with its answer or as failed; then everything fails. For good. */
void postgres_interrupt(Db *db);
/* The last commit has failed, for nobody knows whether it is on the disk of all that it waited for, but what
 * it changed may be there, or come still. */
bool postgres_doubtful(const Db *db);
/* How many times the connection was made: what was read before may have changed when it grows. */
uint64_t postgres_connections(const Db *db);
