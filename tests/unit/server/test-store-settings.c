/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the owner of a mailbox has the store do with what comes in. */
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "server/store-sqlite.h"
#include "tests/unit/server/store-util.h"

#define LATER 100000

static void set_up(StoreFixture *f, gconstpointer data)
{
    store_fixture_set_up(f);
    f->limits.strangers_messages = 1;
    f->limits.sender_messages = 3;
    store_fixture_close(f);
    store_fixture_open(f);
    g_assert_cmpint(test_register(f->store, 1, "alice"), ==, 0);
    g_assert_cmpint(test_register(f->store, 2, "bob"), ==, 0);
    g_assert_cmpint(test_register(f->store, 5, ""), ==, 0);
    g_assert_cmpint(test_register(f->store, 6, ""), ==, 0);
}

static void tear_down(StoreFixture *f, gconstpointer data)
{
    store_fixture_tear_down(f);
}

/* Of one sender, none when it is 0. */
static int tell(StoreFixture *f, uint8_t owner, uint64_t revision, uint64_t lifetime, uint8_t sender,
                bool allowed)
{
    SenderRule rule = {.allowed = allowed};
    MailboxSettings all = {revision, lifetime, &rule, sender != 0};
    StoreWrite w = {.kind = STORE_SETTINGS, .settings.all = &all};
    memcpy(rule.skid, test_skid(sender), KID_SIZE);
    memcpy(w.settings.mailbox, test_kid(owner), KID_SIZE);
    return test_write(f->store, &w);
}

static StoreWrite last_put; /* as it was answered */

static int put(StoreFixture *f, uint8_t to, uint8_t from, unsigned number)
{
    const int64_t now = clock_realtime();
    return test_put(f->store, to, from, now, test_body(number, 100), 100, now + LATER, &last_put);
}

static StoreRule rule(StoreFixture *f, uint8_t owner, uint8_t sender)
{
    StoreRule r = STORE_RULE_NONE;
    g_assert_cmpint(store_rule(f->reader, test_kid(owner), test_skid(sender), &r), ==, 0);
    return r;
}

static void expect_refused(StoreFixture *f, uint8_t to, uint8_t from, unsigned number)
{
    g_assert_cmpint(put(f, to, from, number), ==, HMSG_ERROR_DENIED);
    g_assert_true(last_put.put.refused);
    g_assert_false(last_put.put.blocked);
}

static void rotate(StoreFixture *f, uint8_t from, uint8_t to)
{
    g_autofree StoreIdentity *i = test_identity(to, "");
    g_autofree char *statement = g_strdup_printf("statement %u", from);
    i->generation = to;
    StoreWrite w = {
        .kind = STORE_ROTATE,
        .rotate = {.identity = i, .from = test_skid(from), .from_statement = statement, .steps = "[]"}};
    g_assert_cmpint(test_write(f->store, &w), ==, 0);
}

static void test_blocked(StoreFixture *f, gconstpointer data)
{
    g_assert_cmpint(put(f, 1, 2, 1), ==, 0);
    g_assert_cmpint(tell(f, 1, 1, 0, 2, false), ==, 0);
    g_assert_cmpint(rule(f, 1, 2), ==, STORE_RULE_BLOCKED);
    g_assert_cmpint(rule(f, 1, 5), ==, STORE_RULE_NONE);
    expect_refused(f, 1, 2, 2);
    g_assert_cmpint(put(f, 1, 2, 1), ==, 0); /* was taken before */
    g_assert_false(last_put.put.created);
    g_assert_cmpint(put(f, 2, 1, 3), ==, 0); /* the other way, and others */
    g_assert_cmpint(put(f, 1, 5, 4), ==, 0);
    g_assert_cmpint(tell(f, 1, 2, 0, 0, false), ==, 0);
    g_assert_cmpint(rule(f, 1, 2), ==, STORE_RULE_NONE);
    g_assert_cmpint(put(f, 1, 2, 2), ==, 0);
}

/* A guest who is allowed has a share of his own. */
static void test_allow(StoreFixture *f, gconstpointer data)
{
    g_assert_cmpint(put(f, 1, 6, 1), ==, 0); /* all that strangers have */
    g_assert_cmpint(put(f, 1, 5, 2), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_cmpint(tell(f, 1, 1, 0, 5, true), ==, 0);
    g_assert_cmpint(rule(f, 1, 5), ==, STORE_RULE_ALLOWED);
    for (unsigned i = 2; i < 5; i++)
        g_assert_cmpint(put(f, 1, 5, i), ==, 0);
    g_assert_cmpint(put(f, 1, 5, 5), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_true(last_put.put.share);
    g_assert_cmpint(put(f, 1, 6, 6), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_cmpint(put(f, 2, 5, 7), ==, 0); /* in this mailbox alone */
    g_assert_cmpint(put(f, 2, 5, 8), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    store_fixture_close(f);
    store_fixture_open(f);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
}

static void test_lifetime(StoreFixture *f, gconstpointer data)
{
    StoreMessage list[4];
    size_t n = 0;
    g_assert_cmpint(tell(f, 1, 1, 3600, 0, false), ==, 0);
    g_assert_cmpint(put(f, 1, 2, 1), ==, 0);
    g_assert_cmpint(last_put.put.expires, ==, last_put.put.accepted + 3600);
    g_assert_cmpint(store_list(f->reader, test_kid(1), 0, 4, list, &n), ==, 0);
    g_assert_cmpuint(n, ==, 1);
    g_assert_cmpint(list[0].expires, ==, last_put.put.accepted + 3600);
    /* where the clock is wrong it is counted from the one that goes on */
    StoreWrite w;
    test_put_init(&w, 1, 1, 1000, test_body(9, 100), 100, clock_realtime() + LATER);
    w.put.begins = clock_realtime();
    g_assert_cmpint(test_write(f->store, &w), ==, 0);
    g_assert_cmpint(w.put.expires, ==, w.put.begins + 3600);
    /* what is shorter stays so; and with no lifetime it is the sender's again */
    g_assert_cmpint(tell(f, 1, 2, LATER + 1, 0, false), ==, 0);
    g_assert_cmpint(put(f, 1, 2, 2), ==, 0);
    g_assert_cmpint(last_put.put.expires, ==, last_put.put.accepted + LATER);
    g_assert_cmpint(tell(f, 1, 3, 0, 0, false), ==, 0);
    g_assert_cmpint(put(f, 1, 2, 3), ==, 0);
    g_assert_cmpint(last_put.put.expires, ==, last_put.put.accepted + LATER);
}

/* A rule is the sender's by any key, whoever of the two has changed his; of several keys a blocked one
 * counts. */
static void test_rotations(StoreFixture *f, gconstpointer data)
{
    g_assert_cmpint(tell(f, 1, 1, 0, 2, false), ==, 0);
    rotate(f, 2, 12);
    rotate(f, 12, 22);
    g_assert_cmpint(rule(f, 1, 22), ==, STORE_RULE_BLOCKED);
    expect_refused(f, 1, 22, 1);
    rotate(f, 1, 11);
    expect_refused(f, 11, 22, 2);
    expect_refused(f, 1, 22, 3); /* by the key that the owner has given up */
    g_assert_cmpint(rule(f, 1, 22), ==, STORE_RULE_BLOCKED);
    g_assert_cmpint(tell(f, 1, 2, 0, 0, false), ==, HMSG_ERROR_NOT_FOUND); /* nobody's mailbox any more */
    g_assert_cmpint(tell(f, 11, 2, 0, 12, false), ==, 0);                  /* by one in between */
    expect_refused(f, 11, 22, 4);
    SenderRule rules[2] = {{.allowed = true}, {.allowed = false}};
    MailboxSettings all = {3, 0, rules, 2};
    StoreWrite w = {.kind = STORE_SETTINGS, .settings.all = &all};
    memcpy(rules[0].skid, test_skid(2), KID_SIZE);
    memcpy(rules[1].skid, test_skid(22), KID_SIZE);
    memcpy(w.settings.mailbox, test_kid(11), KID_SIZE);
    g_assert_cmpint(test_write(f->store, &w), ==, 0);
    expect_refused(f, 11, 22, 5);
}

static void test_revisions(StoreFixture *f, gconstpointer data)
{
    StoreSettings s = {1, 1, 1};
    g_assert_cmpint(store_settings(f->reader, test_kid(1), &s), ==, 0);
    g_assert_cmpuint(s.revision + s.lifetime + s.rules, ==, 0);
    g_assert_cmpint(tell(f, 1, 7, 3600, 2, false), ==, 0);
    g_assert_cmpint(tell(f, 1, 7, 3600, 2, false), ==, 0); /* exactly this */
    g_assert_cmpint(tell(f, 1, 7, 3600, 2, true), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(tell(f, 1, 7, 3601, 2, false), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(tell(f, 1, 6, 0, 0, false), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(store_settings(f->reader, test_kid(1), &s), ==, 0);
    g_assert_cmpuint(s.revision, ==, 7);
    g_assert_cmpuint(s.lifetime, ==, 3600);
    g_assert_cmpuint(s.rules, ==, 1);
    g_assert_cmpint(tell(f, 5, 1, 0, 0, false), ==, HMSG_ERROR_NOT_FOUND); /* a guest */
    g_assert_cmpint(tell(f, 9, 1, 0, 0, false), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(tell(f, 2, 1, 0, 1, false), ==, 0); /* each mailbox has its own */
    store_fixture_close(f);
    store_fixture_open(f);
    g_assert_cmpint(rule(f, 1, 2), ==, STORE_RULE_BLOCKED);
    g_assert_cmpint(tell(f, 1, 8, 0, 0, false), ==, 0);
    g_assert_cmpint(rule(f, 2, 1), ==, STORE_RULE_BLOCKED);
}

/* With the mailbox they go; and no file has shown a key. */
static void test_forgotten(StoreFixture *f, gconstpointer data)
{
    StoreWrite leave = {.kind = STORE_UNREGISTER};
    g_assert_cmpint(tell(f, 1, 1, 3600, 9, false), ==, 0);
    if (!test_store_remote())
        g_assert_false(test_files_have(f->folder, test_skid(9), KID_SIZE));
    memcpy(leave.unregister.skid, test_skid(1), KID_SIZE);
    memcpy(leave.unregister.name, "alice", sizeof("alice"));
    g_assert_cmpint(test_write(f->store, &leave), ==, 0);
    g_autofree char *left =
        test_store_ask(f->folder, "SELECT (SELECT count(*) FROM settings) + (SELECT count(*) FROM senders)");
    g_assert_cmpstr(left, ==, "0");
    g_assert_cmpint(test_register(f->store, 1, "alice"), ==, 0);
    g_assert_cmpint(tell(f, 1, 1, 0, 0, false), ==, 0);
}

/* As many as there may be, and the store of the version before. */
static void test_many(StoreFixture *f, gconstpointer data)
{
    g_autofree SenderRule *rules = g_new0(SenderRule, SENDER_RULES_MAX);
    MailboxSettings all = {1, 0, rules, SENDER_RULES_MAX};
    StoreWrite w = {.kind = STORE_SETTINGS, .settings.all = &all};
    StoreSettings s = {};
    for (unsigned i = 0; i < SENDER_RULES_MAX; i++) {
        rules[i].skid[0] = (uint8_t)(i >> 8);
        rules[i].skid[1] = (uint8_t)i;
    }
    memcpy(rules[500].skid, test_skid(2), KID_SIZE);
    memcpy(w.settings.mailbox, test_kid(1), KID_SIZE);
    g_assert_cmpint(test_write(f->store, &w), ==, 0);
    expect_refused(f, 1, 2, 1);
    g_assert_cmpint(store_settings(f->reader, test_kid(1), &s), ==, 0);
    g_assert_cmpuint(s.rules, ==, SENDER_RULES_MAX);
    g_assert_cmpint(tell(f, 1, 2, 0, 0, false), ==, 0);
    g_assert_cmpint(put(f, 1, 2, 1), ==, 0);
    if (test_store_remote())
        return;
    store_fixture_change(
        f, "DROP TABLE senders; DROP TABLE settings; "
           "DROP INDEX sealed_id_start; CREATE UNIQUE INDEX sealed_id ON messages(id, mailbox); "
           "PRAGMA user_version = 5");
    g_assert_cmpint(put(f, 1, 2, 2), ==, 0);
    g_assert_cmpint(tell(f, 1, 1, 0, 2, false), ==, 0);
    expect_refused(f, 1, 2, 3);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add("/store-settings/" name, StoreFixture, NULL, set_up, test, tear_down)
    ADD("block", test_blocked);
    ADD("allow", test_allow);
    ADD("lifetime", test_lifetime);
    ADD("rotations", test_rotations);
    ADD("revisions", test_revisions);
    ADD("forgotten", test_forgotten);
    ADD("many", test_many);
    return g_test_run();
}
