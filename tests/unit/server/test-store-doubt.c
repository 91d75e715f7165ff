/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A commit whose answer was lost: what it was asked for is tried again by the store, one by one, and each
 * gets the answer of the first time. */

#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "server/store-sqlite.h"
#include "tests/unit/server/store-util.h"

#define NOW 1000

enum { LEAVE, STRANGER, ENTER, ROTATE, INVITE, REVOKE, REVOKE_NONE, GRANT, WITHDRAW, SETTINGS, KINDS };

typedef struct Doubt {
    StoreFixture f;
    int64_t later, invite, capability;
    StoreIdentity *newcomer, *rotated;
    SenderRule rule;
    MailboxSettings settings;
    StoreWrite all[KINDS];
} Doubt;

static StoreWrite leave(uint8_t user, const char *name)
{
    StoreWrite w = {.kind = STORE_UNREGISTER};
    memcpy(w.unregister.skid, test_skid(user), KID_SIZE);
    g_strlcpy(w.unregister.name, name, sizeof(w.unregister.name));
    return w;
}

static StoreWrite invite(const Doubt *d, const char *code)
{
    return (StoreWrite){.kind = STORE_INVITE,
                        .invite = {.code = code, .uses = 1, .now = clock_realtime(), .expires = d->later}};
}

static StoreWrite grant(const Doubt *d, uint8_t number)
{
    StoreWrite w = {.kind = STORE_GRANT, .grant = {.uses = 9, .now = NOW, .expires = d->later}};
    memcpy(w.grant.mailbox, test_kid(1), KID_SIZE);
    memset(w.grant.hash, number, SHA256_SIZE);
    return w;
}

static void set_up(Doubt *d, gconstpointer data)
{
    store_fixture_set_up(&d->f);
    d->later = clock_realtime() + 100000;
    for (uint8_t i = 1; i <= 3; i++) {
        g_autofree char *name = g_strdup_printf("user%u", i);
        g_assert_cmpint(test_register(d->f.store, i, name), ==, 0);
    }
    StoreWrite w = invite(d, "to be revoked");
    g_assert_cmpint(test_write(d->f.store, &w), ==, 0);
    d->invite = w.invite.number;
    w = invite(d, "to be used");
    g_assert_cmpint(test_write(d->f.store, &w), ==, 0);
    w = grant(d, 1);
    g_assert_cmpint(test_write(d->f.store, &w), ==, 0);
    d->capability = w.grant.number;
}

static void tear_down(Doubt *d, gconstpointer data)
{
    g_free(d->newcomer);
    g_free(d->rotated);
    store_fixture_tear_down(&d->f);
}

static void fill(Doubt *d)
{
    d->newcomer = test_identity(7, "newcomer");
    d->rotated = test_identity(40, "");
    d->rotated->generation = 2;
    d->all[LEAVE] = leave(2, "user2");
    d->all[STRANGER] = leave(9, "nobody");
    d->all[ENTER] = (StoreWrite){
        .kind = STORE_REGISTER,
        .reg = {.identity = d->newcomer, .by_invite = true, .invite = "to be used", .now = clock_realtime()}};
    d->all[ROTATE] = (StoreWrite){
        .kind = STORE_ROTATE,
        .rotate = {
            .identity = d->rotated, .from = test_skid(3), .from_statement = "statement 3", .steps = "[]"}};
    d->all[INVITE] = invite(d, "new");
    d->all[REVOKE] = (StoreWrite){.kind = STORE_REVOKE, .revoke.number = d->invite};
    d->all[REVOKE_NONE] = (StoreWrite){.kind = STORE_REVOKE, .revoke.number = d->invite + 1000};
    d->all[GRANT] = grant(d, 2);
    d->all[WITHDRAW] = (StoreWrite){.kind = STORE_WITHDRAW, .withdraw.number = d->capability};
    memcpy(d->all[WITHDRAW].withdraw.mailbox, test_kid(1), KID_SIZE);
    d->settings = (MailboxSettings){1, MAILBOX_LIFETIME_MIN, &d->rule, 1};
    d->all[SETTINGS] = (StoreWrite){.kind = STORE_SETTINGS, .settings.all = &d->settings};
    memcpy(d->all[SETTINGS].settings.mailbox, test_kid(1), KID_SIZE);
}

/* All of it in one commit, which the server ends in its way while it waits for a standby. */
static void commit_in_doubt(Doubt *d, const char *how)
{
    g_autofree char *stop =
        g_strdup_printf("SELECT count(%s(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'", how);
    fill(d);
    test_block(d->f.store);
    for (unsigned i = 0; i < KINDS; i++)
        test_write_begin(d->f.store, &d->all[i]);
    test_wait_in_vain();
    test_unblock();
    TEST_AWAIT(test_answer_is(TEST_WAITS, "1"));
    TEST_AWAIT(test_answer_is(stop, "1"));
    TEST_AWAIT(test_answer_is("SELECT count(*) FROM former", "1")); /* it was committed all the same */
    test_wait_for_nobody();
}

static void test_again(Doubt *d, gconstpointer how)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    commit_in_doubt(d, how);
    for (unsigned k = 0; k < KINDS; k++)
        g_assert_cmpint(test_write_end(&d->all[k]), ==,
                        k == STRANGER || k == REVOKE_NONE ? HMSG_ERROR_NOT_FOUND : 0);
    g_assert_cmpint(store_find_name(d->f.reader, "user2", i), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(store_find_name(d->f.reader, "newcomer", i), ==, 0);
    g_assert_true(test_answer_is("SELECT count(*) FROM invites", "1"));
    g_autofree char *number = g_strdup_printf("%d", (int)d->all[INVITE].invite.number);
    g_assert_true(test_answer_is("SELECT number FROM invites", number));
    g_assert_true(test_answer_is("SELECT count(*) FROM capabilities", "2"));
    g_assert_true(test_answer_is("SELECT count(*) FROM senders", "1"));
    g_assert_true(test_answer_is("SELECT count(*) FROM capabilities WHERE uses = -1", "1"));
    /* what somebody else asks for afterwards is not answered so */
    StoreWrite w = leave(2, "user2");
    g_assert_cmpint(test_write(d->f.store, &w), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(store_sqlite_check(d->f.reader), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, how) g_test_add("/store-doubt/" name, Doubt, how, set_up, test_again, tear_down)
    ADD("cancelled", "pg_cancel_backend");
    ADD("terminated", "pg_terminate_backend");
    return g_test_run();
}
