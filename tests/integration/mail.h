/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What tests of mail between users of a scene share. */

#include "tests/lib/scene.h"

/* Two users of a relay, neither registered. */
typedef struct MailPair {
    Scene *scene;
    SceneUser *alice, *bob;
} MailPair;
void mail_pair_open(MailPair *p);
/* Begins the relay again, with more at the end of its relay.conf. */
void mail_relay_configure(MailPair *p, const char *more);
/* Whether the answer of its database to a question is this. */
bool mail_relay_has(MailPair *p, const char *sql, const char *expected);
void mail_pair_close(MailPair *p, gconstpointer data); /* for g_test_add */

/* A text of a record; "" when it has none of that name. */
const char *mail_fact(const json_t *record, const char *key);

/* hmsgctl send -r to, text on standard input; the id, to be freed. */
char *mail_send(SceneUser *u, const char *to, const char *text);
/* The states of the outbox, oldest first: "accepted,delivered"; to be freed. */
char *mail_states(SceneUser *u);
bool mail_states_are(SceneUser *u, const char *expected);
/* How many messages the inbox has, in that state (NULL: all). */
size_t mail_count(SceneUser *u, const char *state);
/* The ids of the inbox that are not in quarantine, oldest first; to be freed with g_strfreev. */
char **mail_ids(SceneUser *u);
/* hmsgctl read, which must succeed; to be freed. */
char *mail_read(SceneUser *u, const char *id);
/* Waits until so many messages are in the inbox outside of quarantine, and reads the last; to be freed. */
char *mail_await(SceneUser *u, size_t n);
/* Is there a message with this text? */
bool mail_has(SceneUser *u, const char *text);
/* "messages blobs" of the relay's store. */
bool mail_relay_holds(const Scene *s, json_int_t messages, json_int_t blobs);

/* hmsgctl monitor --json, which listens already; its output is the file name in the scene's folder, whose
 * path is to be freed. */
TestProcess *mail_monitor(const Scene *s, SceneUser *u, const char *name, char **ret_log);

/* A file in the scene's folder with so many pseudo-random bytes; its path, to be freed. */
char *mail_file(const Scene *s, const char *name, size_t size);
void mail_files_equal(const char *a, const char *b);
bool mail_files_same(const char *a, const char *b);
/* The file's text, "" while there is none; to be freed. */
char *mail_log(const char *path);
