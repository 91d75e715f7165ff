/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/contact-rules.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"

/* What is blocked comes first: of several contacts with one key a block counts, and of too many it stays. */
#define RULES                                                                                                \
    "SELECT skid, new_skid, blocked FROM contacts WHERE (blocked OR allowed) AND skid IS NOT NULL"           \
    " ORDER BY blocked DESC, id DESC"

static int add(MailboxSettings *s, const char *text, size_t n, bool allowed)
{
    SenderRule *rule = &s->senders[s->n_senders];
    int r;

    if (s->n_senders == SENDER_RULES_MAX)
        return 0;
    r = base64url_decode_exact(text, n, rule->skid, KID_SIZE);
    for (size_t i = 0; r == 0 && i < s->n_senders; i++)
        if (bytes_equal(s->senders[i].skid, rule->skid, KID_SIZE))
            return 0;
    rule->allowed = allowed;
    s->n_senders += r == 0;
    return r;
}

static int add_row(MailboxSettings *s, DbStatement *row)
{
    bool blocked = db_column_number(row, 2) != 0;
    size_t n = 0;
    const char *skid = db_column_text(row, 0, &n);
    int r = add(s, skid, n, !blocked);

    if (r != 0 || !blocked || db_column_null(row, 1))
        return r;
    skid = db_column_text(row, 1, &n); /* which it presented since */
    return add(s, skid, n, false);
}

int contact_rules(Db *db, MailboxSettings *ret)
{
    _cleanup_(db_statement_freep) DbStatement *all = NULL;
    bool row = false;
    int r;

    ret->n_senders = 0;
    ret->senders = calloc(SENDER_RULES_MAX + 1, sizeof(*ret->senders));
    if (!ret->senders)
        return -ENOMEM;
    r = db_prepare(db, RULES, &all);
    while (r == 0 && (r = db_step(all, &row)) == 0 && row)
        r = add_row(ret, all);
    return r;
}
