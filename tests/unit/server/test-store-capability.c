/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sending capabilities: who has a good one is no stranger in that mailbox, as often as it says. */
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "server/store-sqlite.h"
#include "tests/unit/server/store-util.h"

static void set_up(StoreFixture *f, gconstpointer data)
{
    store_fixture_set_up(f);
    f->limits.strangers_messages = 1;
    f->limits.sender_messages = 3;
    store_fixture_close(f);
    store_fixture_open(f);
    g_assert_cmpint(test_register(f->store, 1, "alice"), ==, 0);
    g_assert_cmpint(test_register(f->store, 2, "bob"), ==, 0);
    for (uint8_t guest = 5; guest < 8; guest++)
        g_assert_cmpint(test_register(f->store, guest, ""), ==, 0);
}

static void tear_down(StoreFixture *f, gconstpointer data)
{
    store_fixture_tear_down(f);
}

static int grant(StoreFixture *f, uint8_t user, uint8_t code, uint64_t uses, int64_t expires, int64_t *ret)
{
    StoreWrite w = {.kind = STORE_GRANT,
                    .grant = {.uses = uses, .now = clock_realtime(), .expires = expires}};
    memcpy(w.grant.mailbox, test_kid(user), KID_SIZE);
    memset(w.grant.hash, code, SHA256_SIZE);
    int r = test_write(f->store, &w);
    if (ret)
        *ret = w.grant.number;
    return r;
}

static int withdraw(StoreFixture *f, uint8_t user, int64_t number)
{
    StoreWrite w = {.kind = STORE_WITHDRAW, .withdraw.number = number};
    memcpy(w.withdraw.mailbox, test_kid(user), KID_SIZE);
    return test_write(f->store, &w);
}

/* code 0: none */
static int put(StoreFixture *f, uint8_t to, uint8_t from, unsigned number, uint8_t code)
{
    const int64_t now = clock_realtime();
    StoreWrite w;
    test_put_init(&w, to, from, now, test_body(number, 100), 100, now + 1000);
    w.put.has_capability = code != 0;
    memset(w.put.capability, code, SHA256_SIZE);
    return test_write(f->store, &w);
}

static uint64_t uses_left(StoreFixture *f, uint8_t user, int64_t number)
{
    StoreCapability c = {.number = number - 1};
    g_assert_cmpint(store_next_capability(f->reader, test_kid(user), &c), ==, 0);
    g_assert_cmpint(c.number, ==, number);
    return c.uses;
}

static int known(StoreFixture *f, uint8_t user, uint8_t code)
{
    uint8_t hash[SHA256_SIZE];
    memset(hash, code, sizeof(hash));
    return store_capability(f->reader, test_kid(user), hash);
}

static void test_uses(StoreFixture *f, gconstpointer data)
{
    const int64_t later = clock_realtime() + 1000;
    int64_t number = 0;
    g_assert_cmpint(put(f, 1, 5, 1, 0), ==, 0);
    g_assert_cmpint(put(f, 1, 5, 2, 0), ==, HMSG_ERROR_QUOTA_EXCEEDED); /* all that strangers have */
    g_assert_cmpint(known(f, 1, 9), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(put(f, 1, 5, 2, 9), ==, HMSG_ERROR_QUOTA_EXCEEDED); /* none has that code */
    g_assert_cmpint(grant(f, 1, 9, 2, later, &number), ==, 0);
    g_assert_cmpint(known(f, 1, 9), ==, 0);
    g_assert_cmpint(known(f, 2, 9), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpuint(uses_left(f, 1, number), ==, 2);
    g_assert_cmpint(put(f, 1, 5, 2, 9), ==, 0);
    g_assert_cmpint(put(f, 1, 5, 2, 9), ==, 0); /* the same again uses nothing */
    g_assert_cmpuint(uses_left(f, 1, number), ==, 1);
    g_assert_cmpint(put(f, 1, 2, 3, 9), ==, 0); /* nor does a member */
    g_assert_cmpuint(uses_left(f, 1, number), ==, 1);
    g_assert_cmpint(put(f, 2, 5, 4, 0), ==, 0);
    g_assert_cmpint(put(f, 2, 5, 5, 9), ==, HMSG_ERROR_QUOTA_EXCEEDED); /* not of this mailbox */
    g_assert_cmpint(put(f, 1, 6, 6, 9), ==, 0);
    g_assert_cmpuint(uses_left(f, 1, number), ==, 0);
    g_assert_cmpint(known(f, 1, 9), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(put(f, 1, 6, 7, 9), ==, HMSG_ERROR_QUOTA_EXCEEDED); /* used up: a stranger again */
    g_assert_cmpint(put(f, 1, 6, 6, 9), ==, 0);                         /* known still */
    uint8_t hash[SHA256_SIZE];
    memset(hash, 9, sizeof(hash));
    g_assert_false(test_files_have(f->folder, hash, sizeof(hash)));
}

/* All who use one have one share, however many they are. */
static void test_share(StoreFixture *f, gconstpointer data)
{
    const int64_t later = clock_realtime() + 1000;
    g_assert_cmpint(grant(f, 1, 9, 100, later, NULL), ==, 0);
    for (uint8_t guest = 5; guest < 8; guest++)
        g_assert_cmpint(put(f, 1, guest, guest, 9), ==, 0);
    for (uint8_t guest = 5; guest < 8; guest++)
        g_assert_cmpint(put(f, 1, guest, 20u + guest, 9), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_cmpint(grant(f, 1, 10, 100, later, NULL), ==, 0);
    g_assert_cmpint(put(f, 1, 5, 30, 10), ==, 0);
    g_assert_cmpint(put(f, 1, 5, 31, 0), ==, 0); /* what strangers have is untouched */
    /* and comes back when the messages are gone */
    StoreMessage list[8];
    size_t n = 0;
    StoreWrite w;
    g_assert_cmpint(store_list(f->reader, test_kid(1), 0, 8, list, &n), ==, 0);
    g_assert_cmpuint(n, ==, 5);
    g_assert_cmpint(test_acknowledge(f->store, 1, list[0].id, 1, &w), ==, 0);
    store_write_done(&w);
    g_assert_cmpint(put(f, 1, 6, 40, 9), ==, 0);
    g_assert_cmpint(put(f, 1, 6, 41, 9), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    store_fixture_close(f);
    store_fixture_open(f);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
}

static void test_end(StoreFixture *f, gconstpointer data)
{
    const int64_t now = clock_realtime();
    StoreCapability c = {};
    int64_t first = 0, second = 0;
    g_assert_cmpint(grant(f, 1, 9, 10, now + 1000, &first), ==, 0);
    g_assert_cmpint(grant(f, 1, 9, 10, now + 1000, &second), ==, 0); /* the same */
    g_assert_cmpint(first, ==, second);
    g_assert_cmpint(grant(f, 1, 9, 10, now + 2000, NULL), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(grant(f, 5, 9, 10, now + 1000, NULL), ==, HMSG_ERROR_NOT_FOUND); /* no mailbox */
    g_assert_cmpint(withdraw(f, 2, first), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(withdraw(f, 1, first), ==, 0);
    g_assert_cmpint(withdraw(f, 1, first), ==, 0); /* an answer may have been lost */
    g_assert_cmpint(withdraw(f, 1, first + 100), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(known(f, 1, 9), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(store_next_capability(f->reader, test_kid(1), &c), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(grant(f, 1, 9, 10, now + 1000, NULL), ==, HMSG_ERROR_ALREADY_EXISTS); /* gone for good */
    g_assert_cmpint(put(f, 1, 5, 1, 9), ==, 0);
    g_assert_cmpint(put(f, 1, 5, 2, 9), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    /* over from the start: never good, and room for others when the next comes */
    g_assert_cmpint(grant(f, 1, 10, 10, now, NULL), ==, 0);
    g_assert_cmpint(known(f, 1, 10), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(put(f, 1, 5, 2, 10), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_cmpint(grant(f, 1, 11, 10, now + 1000, &second), ==, 0);
    g_assert_cmpint(second, >, first);
    g_assert_cmpint(store_next_capability(f->reader, test_kid(1), &c), ==, 0);
    g_assert_cmpint(c.number, ==, second);
    g_assert_cmpint(c.expires, ==, now + 1000);
}

static void test_many(StoreFixture *f, gconstpointer data)
{
    StoreWrite w = {.kind = STORE_GRANT, .grant = {.uses = 1, .now = clock_realtime()}};
    w.grant.expires = w.grant.now + 1000;
    memcpy(w.grant.mailbox, test_kid(1), KID_SIZE);
    for (unsigned i = 0; i < CAPABILITIES_MAX; i++) {
        memcpy(w.grant.hash, &i, sizeof(i));
        g_assert_cmpint(test_write(f->store, &w), ==, 0);
    }
    w.grant.hash[31] = 1;
    g_assert_cmpint(test_write(f->store, &w), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    memcpy(w.grant.mailbox, test_kid(2), KID_SIZE);
    g_assert_cmpint(test_write(f->store, &w), ==, 0);
}

/* They stay with the mailbox when its keys change, and go with it. */
static void test_owner(StoreFixture *f, gconstpointer data)
{
    const int64_t later = clock_realtime() + 1000;
    g_autofree StoreIdentity *now = g_new0(StoreIdentity, 1), *next = test_identity(11, "");
    StoreWrite w = {.kind = STORE_ROTATE, .rotate = {.identity = next, .steps = "[]"}};
    g_assert_cmpint(grant(f, 1, 9, 10, later, NULL), ==, 0);
    g_assert_cmpint(store_find_key(f->reader, test_skid(1), now), ==, 0);
    next->generation = now->generation + 1;
    w.rotate.from = now->skid;
    w.rotate.from_statement = now->statement;
    g_assert_cmpint(test_write(f->store, &w), ==, 0);
    g_assert_cmpint(known(f, 11, 9), ==, 0);
    g_assert_cmpint(known(f, 1, 9), ==, 0);
    g_assert_cmpint(put(f, 1, 5, 1, 9), ==, 0);
    g_assert_cmpint(put(f, 11, 5, 2, 9), ==, 0);
    StoreWrite gone = {.kind = STORE_UNREGISTER};
    memcpy(gone.unregister.skid, test_skid(11), KID_SIZE);
    g_strlcpy(gone.unregister.name, "alice", sizeof(gone.unregister.name));
    g_assert_cmpint(test_write(f->store, &gone), ==, 0);
    g_assert_cmpint(test_register(f->store, 3, "alice"), ==, 0);
    g_assert_cmpint(known(f, 3, 9), ==, HMSG_ERROR_NOT_FOUND);
    store_fixture_close(f);
    store_fixture_open(f);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add("/store-capability/" name, StoreFixture, NULL, set_up, test, tear_down)
    ADD("uses", test_uses);
    ADD("share", test_share);
    ADD("end", test_end);
    ADD("many", test_many);
    ADD("owner", test_owner);
    return g_test_run();
}
