/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/contact-rules.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"

/* What is blocked comes first: of several contacts with one key a block counts, and of too many it stays. */
#define RULES                                                                                                \
    "SELECT skid, new_skid, blocked FROM contacts WHERE (blocked OR allowed) AND skid IS NOT NULL"           \
    " ORDER BY blocked DESC, id DESC"

typedef struct Rules {
    MailboxSettings *settings;
    size_t left_out;
} Rules;

static int add(Rules *rules, const char *text, size_t n, bool allowed)
{
    MailboxSettings *s = rules->settings;
    SenderRule rule = {.allowed = allowed};
    int r = base64url_decode_exact(text, n, rule.skid, KID_SIZE);

    if (r != 0)
        return r;
    for (size_t i = 0; i < s->n_senders; i++)
        if (bytes_equal(s->senders[i].skid, rule.skid, KID_SIZE))
            return 0;
    if (s->n_senders < SENDER_RULES_MAX)
        s->senders[s->n_senders++] = rule;
    else
        rules->left_out++;
    return 0;
}

static int add_row(Rules *rules, DbStatement *row)
{
    bool blocked = db_column_number(row, 2) != 0;
    size_t n = 0;
    const char *skid = db_column_text(row, 0, &n);
    int r = add(rules, skid, n, !blocked);

    if (r != 0 || !blocked || db_column_null(row, 1))
        return r;
    skid = db_column_text(row, 1, &n); /* which it presented since */
    return add(rules, skid, n, false);
}

int contact_rules(Db *db, MailboxSettings *ret, size_t *ret_left_out)
{
    _cleanup_(db_statement_freep) DbStatement *all = NULL;
    Rules rules = {.settings = ret};
    bool row = false;
    int r;

    ret->n_senders = 0;
    ret->senders = calloc(SENDER_RULES_MAX, sizeof(*ret->senders));
    if (!ret->senders)
        return -ENOMEM;
    r = db_prepare(db, RULES, &all);
    while (r == 0 && (ret_left_out || ret->n_senders < SENDER_RULES_MAX) && (r = db_step(all, &row)) == 0 &&
           row)
        r = add_row(&rules, all);
    if (ret_left_out)
        *ret_left_out = rules.left_out;
    return r;
}
