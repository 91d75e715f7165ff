/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What administrators do with a store: invitations, and clients who are blocked. */
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "tests/unit/server/store-util.h"

#define NOW 1000000

static void set_up(StoreFixture *f, gconstpointer data)
{
    store_fixture_set_up(f);
}

static void tear_down(StoreFixture *f, gconstpointer data)
{
    store_fixture_tear_down(f);
}

static int invite(Store *s, const char *code, uint64_t uses, int64_t expires, int64_t *ret)
{
    StoreWrite w = {.kind = STORE_INVITE,
                    .invite = {.code = code, .uses = uses, .now = clock_realtime(), .expires = expires}};
    int r = test_write(s, &w);
    if (ret)
        *ret = w.invite.number;
    return r;
}

static int enter(Store *s, uint8_t user, const char *name, const char *code, int64_t now)
{
    g_autofree StoreIdentity *i = test_identity(user, name);
    StoreWrite w = {.kind = STORE_REGISTER,
                    .reg = {.identity = i, .by_invite = true, .invite = code, .now = now}};
    return test_write(s, &w);
}

static void test_uses(StoreFixture *f, gconstpointer data)
{
    const int64_t now = clock_realtime();
    StoreInvite i = {};
    int64_t number = 0;
    g_assert_cmpint(invite(f->store, "two", 2, now + 100, &number), ==, 0);
    g_assert_cmpint(enter(f->store, 1, "alice", NULL, now), ==, HMSG_ERROR_DENIED);
    g_assert_cmpint(enter(f->store, 1, "alice", "tw", now), ==, HMSG_ERROR_DENIED);
    g_assert_cmpint(enter(f->store, 1, "alice", "two", now + 100), ==, HMSG_ERROR_DENIED);
    g_assert_cmpint(enter(f->store, 1, "alice", "two", now), ==, 0);
    g_assert_cmpint(enter(f->store, 1, "alice", "two", now), ==, 0); /* the same again uses nothing */
    g_assert_cmpint(enter(f->store, 2, "alice", "two", now), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(store_next_invite(f->reader, &i), ==, 0);
    g_assert_cmpint(i.number, ==, number);
    g_assert_cmpuint(i.uses, ==, 1);
    g_assert_cmpint(i.expires, ==, now + 100);
    g_assert_cmpint(store_next_invite(f->reader, &i), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(enter(f->store, 2, "", NULL, now), ==, 0); /* a guest */
    g_assert_cmpint(enter(f->store, 2, "bob", "two", now), ==, 0);
    g_assert_cmpint(enter(f->store, 3, "carol", "two", now), ==, HMSG_ERROR_DENIED);
    i.number = 0;
    g_assert_cmpint(store_next_invite(f->reader, &i), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_false(test_files_have(f->folder, "two", 4));
}

static void test_revoke(StoreFixture *f, gconstpointer data)
{
    const int64_t now = clock_realtime();
    StoreWrite w = {.kind = STORE_REVOKE};
    g_assert_cmpint(invite(f->store, "a very long code", 5, now + 100, &w.revoke.number), ==, 0);
    g_assert_false(test_files_have(f->folder, "a very long code", 16));
    g_assert_cmpint(test_write(f->store, &w), ==, 0);
    g_assert_cmpint(test_write(f->store, &w), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(enter(f->store, 1, "alice", "a very long code", now), ==, HMSG_ERROR_DENIED);
}

/* Two at the same time: one gets in. */
static void test_race(StoreFixture *f, gconstpointer data)
{
    const int64_t now = clock_realtime();
    g_autofree StoreIdentity *a = test_identity(1, "alice"), *b = test_identity(2, "bob");
    StoreWrite v = {.kind = STORE_REGISTER,
                    .reg = {.identity = a, .by_invite = true, .invite = "one", .now = now}};
    StoreWrite w = {.kind = STORE_REGISTER,
                    .reg = {.identity = b, .by_invite = true, .invite = "one", .now = now}};
    g_assert_cmpint(invite(f->store, "one", 1, now + 100, NULL), ==, 0);
    test_block(f->store);
    test_write_begin(f->store, &v);
    test_write_begin(f->store, &w);
    test_unblock();
    g_assert_cmpint(test_write_end(&v), ==, 0);
    g_assert_cmpint(test_write_end(&w), ==, HMSG_ERROR_DENIED);
}

static int block(Store *s, uint8_t user, bool blocked)
{
    StoreWrite w = {.kind = STORE_BLOCK, .block.blocked = blocked};
    memcpy(w.block.skid, test_skid(user), KID_SIZE);
    return test_write(s, &w);
}

static int put(StoreFixture *f, uint8_t to, uint8_t from, unsigned number, bool *ret_blocked)
{
    StoreWrite w;
    int r = test_put(f->store, to, from, NOW, test_body(number, 100), 100, NOW + 1000, &w);
    *ret_blocked = w.put.blocked;
    return r;
}

static void test_blocked(StoreFixture *f, gconstpointer data)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    StoreUse use = {};
    int64_t number = 0;
    bool blocked = false;
    g_assert_cmpint(block(f->store, 1, true), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(test_register(f->store, 1, "alice"), ==, 0);
    g_assert_cmpint(test_register(f->store, 2, "bob"), ==, 0);
    g_assert_cmpint(put(f, 1, 2, 1, &blocked), ==, 0);
    g_assert_cmpint(block(f->store, 1, true), ==, 0);
    for (unsigned k = 0; k < 2; k++) { /* to and from */
        g_assert_cmpint(put(f, (uint8_t)(1 + k), (uint8_t)(2 - k), 2, &blocked), ==, HMSG_ERROR_DENIED);
        g_assert_true(blocked);
    }
    g_assert_cmpint(put(f, 2, 2, 3, &blocked), ==, 0);
    g_assert_cmpint(put(f, 2, 3, 4, &blocked), ==, HMSG_ERROR_DENIED); /* not registered */
    g_assert_false(blocked);
    /* The registration stays, as who is registered again, and what has come. */
    g_assert_cmpint(test_register(f->store, 1, "alice"), ==, 0);
    g_assert_cmpint(store_next_identity(f->reader, &number, i), ==, 0);
    g_assert_cmpstr(i->name, ==, "alice");
    g_assert_true(i->blocked);
    g_assert_cmpint(store_use(f->reader, i->kid, &use), ==, 0);
    g_assert_cmpuint(use.messages, ==, 1);
    g_assert_cmpuint(use.bytes, ==, 100);
    g_assert_cmpint(store_next_identity(f->reader, &number, i), ==, 0);
    g_assert_cmpstr(i->name, ==, "bob");
    g_assert_false(i->blocked);
    g_assert_cmpint(store_next_identity(f->reader, &number, i), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(block(f->store, 1, false), ==, 0);
    g_assert_cmpint(put(f, 1, 2, 5, &blocked), ==, 0);
}

#define ADD(name, function) g_test_add("/store/admin/" name, StoreFixture, NULL, set_up, function, tear_down)

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    ADD("uses", test_uses);
    ADD("revoke", test_revoke);
    ADD("race", test_race);
    ADD("blocked", test_blocked);
    return g_test_run();
}
