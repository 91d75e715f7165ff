/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The user's rules of which program may decrypt and sign, and the log of who did: counts and times, nothing
 * of what. Both are in the store; the log is gathered in memory for RULES_LOG_DELAY. */

#include "agent/app.h"
#include "agent/manager.h"

#define RULES_MAX 1024u
#define RULES_PERMISSION_SIZE 8u /* of the names of permissions */
#define RULES_KEY_SIZE (APP_ID_SIZE + RULES_PERMISSION_SIZE)
#define RULES_LOG_MAX 10000u        /* entries; the oldest go */
#define RULES_LOG_DAYS 90u          /* then an entry goes */
#define RULES_LOG_DELAY 60000000ull /* µs */
#define RULES_LOG_SPAN 3600u        /* seconds of uses that one entry counts together */
#define RULES_LOG_GATHERED_MAX 256u /* kinds of uses in memory, before they are written at once */

typedef enum Verdict { VERDICT_NONE, VERDICT_ALLOW, VERDICT_ASK, VERDICT_DENY } Verdict;

const char *verdict_name(Verdict v);               /* "" for none */
int verdict_parse(const char *text, Verdict *ret); /* INVALID_ARGS */

typedef struct Rule {
    char app[APP_ID_SIZE];
    char permission[RULES_PERMISSION_SIZE]; /* decrypt or sign */
    Verdict verdict;
    int64_t since; /* seconds since 1970 */
} Rule;

typedef struct Use {
    const char *app, *program, *permission;
    bool allowed;
    int64_t first, last; /* seconds since 1970 */
    uint64_t n;
} Use;

int rules_new(Manager *m, Rules **ret);
Rules *rules_free(Rules *r); /* writes what was gathered */
DEFINE_CLEANUP(Rules *, rules_free)

/* What rules, and answers of the user, are found by. */
void rules_key(const char *app, const char *permission, char ret[static RULES_KEY_SIZE]);
/* What is set; NONE: nothing. */
Verdict rules_find(const Rules *r, const char *key);
/* NONE removes the rule: NOT_FOUND. INVALID_ARGS: no app id, or no such permission. QUOTA_EXCEEDED. */
int rules_set(Rules *r, const char *app, const char *permission, Verdict verdict);
int rules_each(const Rules *r, int (*f)(const Rule *rule, void *userdata), void *userdata);

void rules_note(Rules *r, const char *app, const char *program, const char *permission, bool allowed);
/* The latest first, at most max. */
int rules_each_use(Rules *r, unsigned max, int (*f)(const Use *u, void *userdata), void *userdata);
