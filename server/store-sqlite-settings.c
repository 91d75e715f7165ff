/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the owner of a mailbox has said of what comes in. A sender's rule is found by any key that he has or
 * has had, so it stays his; which senders a mailbox has rules for cannot be seen in the table. */

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"

#define SKIDS_MAX (1u + ROTATION_CHAIN_MAX)

const char *const store_sqlite_settings_texts[SQL_WRITE_MAX_] = {
    [SQL_FIND_SETTINGS] = "SELECT revision, digest FROM settings WHERE mailbox = ?1",
    [SQL_SET_SETTINGS] =
        ("INSERT INTO settings(mailbox, revision, lifetime, rules, digest) VALUES(?1, ?2, ?3, ?4, ?5)"
         " ON CONFLICT(mailbox) DO UPDATE SET revision = excluded.revision,"
         " lifetime = excluded.lifetime, rules = excluded.rules, digest = excluded.digest"),
    [SQL_ADD_SENDER] = "INSERT INTO senders(mailbox, sender, allowed) VALUES(?1, ?2, ?3)",
    [SQL_EACH_SKID] = EACH_SKID,
    [SQL_FIND_SENDER] = FIND_SENDER,
    [SQL_DELETE_SENDERS] = "DELETE FROM senders WHERE mailbox = ?1",
    [SQL_DELETE_SETTINGS] = "DELETE FROM settings WHERE mailbox = ?1",
};

/* HMSG_ERROR_ALREADY_EXISTS: the relay was told as much or more before. *ret_same: exactly this. */
static int check_revision(SqliteStore *s, int64_t mailbox, uint64_t revision,
                          const uint8_t digest[static AT_REST_INDEX_SIZE], bool *ret_same)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_SETTINGS];
    uint8_t kept[AT_REST_INDEX_SIZE];
    bool row = false;
    db_bind_number(sql, 1, mailbox);
    int r = db_step(sql, &row);
    if (r != 0 || !row)
        return r;
    uint64_t known = (uint64_t)db_column_number(sql, 0);
    r = db_column_exact(sql, 1, kept, sizeof(kept));
    *ret_same = r == 0 && known == revision && bytes_equal(kept, digest, sizeof(kept));
    return r != 0 || *ret_same || revision > known ? r : HMSG_ERROR_ALREADY_EXISTS;
}

static int add_senders(SqliteStore *s, int64_t mailbox, const MailboxSettings *all)
{
    DbStatement *sql = s->sql[SQL_ADD_SENDER];
    uint8_t skid[AT_REST_INDEX_SIZE], sender[AT_REST_INDEX_SIZE];
    int r = 0;
    for (size_t i = 0; r == 0 && i < all->n_senders; i++) {
        r = identity_index(s->at_rest, INDEX_KEY, all->senders[i].skid, KID_SIZE, skid);
        if (r == 0)
            r = mailbox_index(s->at_rest, INDEX_SENDER, mailbox, skid, sizeof(skid), sender);
        db_bind_number(sql, 1, mailbox);
        db_bind_bytes(sql, 2, sender, sizeof(sender));
        db_bind_number(sql, 3, all->senders[i].allowed);
        if (r == 0)
            r = db_run(sql);
    }
    return r;
}

static int replace(SqliteStore *s, int64_t mailbox, const MailboxSettings *all,
                   const uint8_t digest[static AT_REST_INDEX_SIZE])
{
    DbStatement *sql = s->sql[SQL_SET_SETTINGS];
    int r = store_sqlite_run_number(s, SQL_DELETE_SENDERS, mailbox);
    if (r == 0)
        r = add_senders(s, mailbox, all);
    db_bind_number(sql, 1, mailbox);
    db_bind_number(sql, 2, (int64_t)all->revision);
    db_bind_number(sql, 3, (int64_t)all->lifetime);
    db_bind_number(sql, 4, (int64_t)all->n_senders);
    db_bind_bytes(sql, 5, digest, AT_REST_INDEX_SIZE);
    return r == 0 ? db_run(sql) : r;
}

int store_sqlite_settings(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    uint8_t plain[SHA256_SIZE], digest[AT_REST_INDEX_SIZE];
    int64_t mailbox = 0, next = 0;
    bool same = false;
    int r = store_sqlite_mailbox(s, w->settings.mailbox, &mailbox, &next);
    if (r == HMSG_ERROR_NOT_FOUND)
        return r;
    if (r == 0)
        r = mailbox_settings_digest(w->settings.all, plain);
    if (r == 0)
        r = mailbox_index(s->at_rest, INDEX_SETTINGS, mailbox, plain, sizeof(plain), digest);
    if (r == 0)
        r = check_revision(s, mailbox, w->settings.all->revision, digest, &same);
    if (r == HMSG_ERROR_ALREADY_EXISTS)
        return r;
    if (r == 0 && !same)
        r = replace(s, mailbox, w->settings.all, digest);
    *ret_rollback = r != 0;
    return r;
}

/* The statements are EACH_SKID and FIND_SENDER, of whatever connection. One key blocked is enough. */
static int find_rule(const AtRest *a, DbStatement *each, DbStatement *find, int64_t mailbox, int64_t sender,
                     StoreRule *ret)
{
    uint8_t skids[SKIDS_MAX][AT_REST_INDEX_SIZE], index[AT_REST_INDEX_SIZE];
    StoreRule rule = STORE_RULE_NONE;
    bool row = false;
    size_t n = 0;
    db_bind_number(each, 1, sender);
    int r = db_step(each, &row);
    while (r == 0 && row && n < SKIDS_MAX) {
        r = db_column_exact(each, 0, skids[n++], AT_REST_INDEX_SIZE);
        if (r == 0)
            r = db_step(each, &row);
    }
    db_reset(each);
    for (size_t i = 0; r == 0 && i < n && rule != STORE_RULE_BLOCKED; i++) {
        r = mailbox_index(a, INDEX_SENDER, mailbox, skids[i], AT_REST_INDEX_SIZE, index);
        db_bind_number(find, 1, mailbox);
        db_bind_bytes(find, 2, index, sizeof(index));
        if (r == 0)
            r = db_step(find, &row);
        if (r == 0 && row)
            rule = db_column_number(find, 0) != 0 ? STORE_RULE_ALLOWED : STORE_RULE_BLOCKED;
        db_reset(find);
    }
    *ret = rule;
    return r;
}

int store_sqlite_follow(SqliteStore *s, StoreWrite *w, int64_t mailbox, DbStatement *sql, int column,
                        StoreRule *ret)
{
    int64_t lifetime = db_column_number(sql, column), rules = db_column_number(sql, column + 1);
    int64_t sender = db_column_number(sql, column + 2);
    int64_t begins = w->put.begins != 0 ? w->put.begins : w->put.accepted;
    *ret = STORE_RULE_NONE;
    if (lifetime > 0 && w->put.expires > begins + lifetime)
        w->put.expires = begins + lifetime;
    int r = rules > 0
                ? find_rule(s->at_rest, s->sql[SQL_EACH_SKID], s->sql[SQL_FIND_SENDER], mailbox, sender, ret)
                : 0;
    w->put.refused = r == 0 && *ret == STORE_RULE_BLOCKED;
    return r;
}

int reader_rule(StoreReader *reader, const uint8_t *mailbox, const uint8_t *submitter, StoreRule *ret)
{
    DbStatement *sql = reader_statement(reader, SQL_RULE_PARTIES);
    uint8_t kid[AT_REST_INDEX_SIZE], skid[AT_REST_INDEX_SIZE];
    int64_t number = 0, sender = 0;
    bool row = false;
    *ret = STORE_RULE_NONE;
    int r = reader_bind_index(reader, sql, 1, INDEX_KEY, mailbox, kid);
    if (r == 0)
        r = reader_bind_index(reader, sql, 2, INDEX_KEY, submitter, skid);
    if (r == 0)
        r = db_step(sql, &row);
    if (r == 0 && row) {
        number = db_column_number(sql, 0);
        sender = db_column_number(sql, 1);
    }
    db_reset(sql);
    if (r != 0 || !row)
        return r;
    return find_rule(((const SqliteReader *)reader)->at_rest, reader_statement(reader, SQL_RULE_SKIDS),
                     reader_statement(reader, SQL_RULE), number, sender, ret);
}

int reader_settings(StoreReader *reader, const uint8_t *mailbox, StoreSettings *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = reader_statement(reader, SQL_SETTINGS);
    uint8_t kid[AT_REST_INDEX_SIZE];
    bool row = false;
    *ret = (StoreSettings){};
    int r = reader_bind_index(reader, sql, 1, INDEX_KEY, mailbox, kid);
    if (r == 0)
        r = db_step(sql, &row);
    if (r == 0 && row)
        *ret = (StoreSettings){(uint64_t)db_column_number(sql, 0), (uint64_t)db_column_number(sql, 1),
                               (uint64_t)db_column_number(sql, 2)};
    return r;
}
