/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/inbox.h"

#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "tests/lib/process.h"

#define RELAY "relay.example:7443#AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define SKID "SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSA"
#define NOW INT64_C(1800000000)

typedef struct Fixture {
    char *folder;
    Store *store;
    Inbox *inbox;
} Fixture;

static void open_all(Fixture *f)
{
    g_assert_cmpint(store_new(f->folder, "", NULL, &f->store), ==, 0);
    g_assert_cmpint(inbox_new(f->store, &f->inbox), ==, 0);
}

static void close_all(Fixture *f)
{
    f->inbox = inbox_free(f->inbox);
    f->store = store_free(f->store);
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    open_all(f);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    close_all(f);
    test_folder_remove(f->folder);
}

static void make_id(unsigned n, char ret[static HASH_TEXT_SIZE])
{
    memset(ret, 'A', HASH_TEXT_SIZE - 1);
    ret[0] = (char)('A' + n % 26);
    ret[1] = (char)('A' + n / 26 % 26);
    ret[2] = (char)('A' + n / 676 % 26);
    ret[HASH_TEXT_SIZE - 1] = 0;
}

static int put(Fixture *f, unsigned n, InboxState state, const InboxSeen *seen, InboxRow *ret)
{
    InboxRow row = {.state = state, .acknowledge = INBOX_ACK_DUE, .received = NOW, .size = 4};
    StoreBody body = {.bytes = BUF_MAX(100)};
    int r;

    make_id(n, row.id);
    g_strlcpy(row.relay, RELAY, sizeof(row.relay));
    g_strlcpy(row.skid, SKID, sizeof(row.skid));
    g_strlcpy(row.submitter, SKID, sizeof(row.submitter));
    g_assert_cmpint(buf_append(&body.bytes, "body", 4), ==, 0);
    r = inbox_put(f->inbox, &row, &body, seen);
    store_body_done(&body);
    if (ret)
        *ret = row;
    return r;
}

static bool seen(Fixture *f, uint64_t seq)
{
    static const uint8_t sid[SESSION_ID_SIZE] = {5};
    const InboxSeen s = {SKID, sid, seq, NOW + 1000};
    bool result = false;

    g_assert_cmpint(inbox_seen(f->inbox, &s, &result), ==, 0);
    return result;
}

static void see(Fixture *f, unsigned n, uint64_t seq)
{
    static const uint8_t sid[SESSION_ID_SIZE] = {5};
    const InboxSeen s = {SKID, sid, seq, NOW + 1000};

    g_assert_cmpint(put(f, n, INBOX_NEW, &s, NULL), ==, 0);
}

/* 64 wide: what is older than the window counts as seen. */
static void test_window(Fixture *f, gconstpointer data)
{
    g_assert_false(seen(f, 0));
    see(f, 0, 0);
    g_assert_true(seen(f, 0));
    g_assert_false(seen(f, 1));
    see(f, 1, 100);
    g_assert_true(seen(f, 100));
    g_assert_false(seen(f, 99));
    g_assert_false(seen(f, 100 - (REPLAY_WINDOW - 1)));
    g_assert_true(seen(f, 100 - REPLAY_WINDOW));
    see(f, 2, 50);
    g_assert_true(seen(f, 50));
    g_assert_false(seen(f, 51));
    see(f, 3, 101);
    g_assert_true(seen(f, 50));
    g_assert_true(seen(f, 100));
    see(f, 4, SEQUENCE_MAX);
    g_assert_true(seen(f, 101));
    g_assert_true(seen(f, SEQUENCE_MAX));
    g_assert_false(seen(f, SEQUENCE_MAX - 1));
    /* over a restart */
    close_all(f);
    open_all(f);
    g_assert_true(seen(f, SEQUENCE_MAX));
    g_assert_false(seen(f, SEQUENCE_MAX - 1));

    static const uint8_t other[SESSION_ID_SIZE] = {6};
    const InboxSeen elsewhere = {SKID, other, 0, NOW + 1000}, anonymous = {0};
    bool result = true;
    g_assert_cmpint(inbox_seen(f->inbox, &elsewhere, &result), ==, 0);
    g_assert_false(result);
    g_assert_cmpint(inbox_seen(f->inbox, &anonymous, &result), ==, 0);
    g_assert_false(result);
}

static void test_once(Fixture *f, gconstpointer data)
{
    InboxRow row, got;
    Buf body = BUF_MAX(100);
    bool known = false;
    int fd = -1;

    g_assert_cmpint(put(f, 1, INBOX_NEW, NULL, &row), ==, 0);
    g_assert_cmpint(row.serial, >, 0);
    g_assert_cmpint(put(f, 1, INBOX_NEW, NULL, NULL), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(inbox_knows(f->inbox, row.id, &known), ==, 0);
    g_assert_true(known);
    g_assert_cmpint(inbox_get(f->inbox, row.id, &got), ==, 0);
    g_assert_cmpstr(got.skid, ==, SKID);
    g_assert_cmpint(inbox_body(f->inbox, &got, &body, &fd), ==, 0);
    g_assert_cmpstr(buf_text(&body), ==, "body");
    buf_done(&body);

    /* deleted, and still known: it does not come again */
    g_assert_cmpint(inbox_delete(f->inbox, row.id), ==, 0);
    g_assert_cmpint(inbox_delete(f->inbox, row.id), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(inbox_get(f->inbox, row.id, &got), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(inbox_knows(f->inbox, row.id, &known), ==, 0);
    g_assert_true(known);
}

static void test_acknowledgement(Fixture *f, gconstpointer data)
{
    char due[10][HASH_TEXT_SIZE];
    bool known = false;
    InboxRow row;
    size_t n = 0;

    g_assert_cmpint(put(f, 1, INBOX_NEW, NULL, &row), ==, 0);
    g_assert_cmpint(inbox_due(f->inbox, RELAY, due, 10, &n), ==, 0);
    g_assert_cmpuint(n, ==, 1);
    g_assert_cmpstr(due[0], ==, row.id);
    g_assert_cmpint(inbox_due(f->inbox, "other.example:7443#x", due, 10, &n), ==, 0);
    g_assert_cmpuint(n, ==, 0);
    const char *const ids[] = {row.id, NULL};
    g_assert_cmpint(inbox_acknowledged(f->inbox, ids), ==, 0);
    g_assert_cmpint(inbox_due(f->inbox, RELAY, due, 10, &n), ==, 0);
    g_assert_cmpuint(n, ==, 0);
    /* the relay tells of it again: it did not hear us */
    g_assert_cmpint(inbox_knows(f->inbox, row.id, &known), ==, 0);
    g_assert_cmpint(inbox_due(f->inbox, RELAY, due, 10, &n), ==, 0);
    g_assert_cmpuint(n, ==, 1);
}

static int count(const InboxRow *row, void *userdata)
{
    ++*(unsigned *)userdata;
    return 0;
}

/* Strangers cannot fill the disk. */
static void test_quarantine(Fixture *f, gconstpointer data)
{
    unsigned n = 0;
    InboxRow row;

    for (unsigned i = 0; i < INBOX_QUARANTINE_MAX + 20; i++)
        g_assert_cmpint(put(f, i, INBOX_QUARANTINED, NULL, NULL), ==, 0);
    g_assert_cmpint(put(f, 20000, INBOX_NEW, NULL, NULL), ==, 0);
    g_assert_cmpint(inbox_each(f->inbox, 0, count, &n), ==, 0);
    g_assert_cmpuint(n, ==, INBOX_QUARANTINE_MAX + 1);
    make_id(0, row.id);
    InboxRow got;
    g_assert_cmpint(inbox_get(f->inbox, row.id, &got), ==, HMSG_ERROR_NOT_FOUND); /* the oldest went */
}

static void test_states(Fixture *f, gconstpointer data)
{
    InboxRow row, got;
    uint64_t unread = 9;

    g_assert_cmpint(put(f, 1, INBOX_UNCHECKED, NULL, &row), ==, 0);
    g_assert_cmpint(put(f, 2, INBOX_NEW, NULL, NULL), ==, 0);
    g_assert_cmpint(inbox_next(f->inbox, INBOX_UNCHECKED, 0, &got), ==, 0);
    g_assert_cmpstr(got.id, ==, row.id);
    g_assert_cmpint(inbox_next(f->inbox, INBOX_UNCHECKED, got.serial, &got), ==, HMSG_ERROR_NOT_FOUND);
    got.state = INBOX_NEW;
    g_assert_cmpint(inbox_put(f->inbox, &got, NULL, NULL), ==, 0);
    g_assert_cmpint(inbox_count_unread(f->inbox, &unread), ==, 0);
    g_assert_cmpuint(unread, ==, 2);
    g_assert_cmpint(inbox_mark_read(f->inbox, row.id), ==, 0);
    g_assert_cmpint(inbox_count_unread(f->inbox, &unread), ==, 0);
    g_assert_cmpuint(unread, ==, 1);
}

static bool needs(Fixture *f, const char *kid)
{
    bool needed = false;

    g_assert_cmpint(inbox_needs(f->inbox, kid, &needed), ==, 0);
    return needed;
}

/* What hangs on which key; a body that takes another's place, also over a restart. */
static void test_keep(Fixture *f, gconstpointer data)
{
    static const char former[] = "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA",
                      now[] = "NNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNA";
    StoreBody body = {.bytes = BUF_MAX(100)};
    _cleanup_(buf_done) Buf got = BUF_MAX(100);
    InboxRow row, next;
    int fd = -1;

    g_assert_cmpint(put(f, 1, INBOX_NEW, NULL, &row), ==, 0);
    g_assert_true(needs(f, former)); /* nobody knows yet */
    g_assert_cmpint(inbox_set_kid(f->inbox, &row, former), ==, 0);
    g_assert_true(needs(f, former));
    g_assert_false(needs(f, now));
    g_assert_cmpint(inbox_next_hanging(f->inbox, former, 0, &next), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(inbox_next_hanging(f->inbox, now, row.serial, &next), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(inbox_next_hanging(f->inbox, now, 0, &next), ==, 0);
    g_assert_cmpstr(next.kid, ==, former);
    g_strlcpy(next.kid, now, sizeof(next.kid));
    next.created = NOW - 2;
    next.sent = NOW - 1;
    g_assert_cmpint(buf_append(&body.bytes, "ours", 4), ==, 0);
    g_assert_cmpint(inbox_keep(f->inbox, &next, &body), ==, 0);
    close_all(f);
    open_all(f);
    g_assert_false(needs(f, former));
    g_assert_true(needs(f, now));
    g_assert_cmpint(inbox_get(f->inbox, row.id, &row), ==, 0);
    g_assert_true(row.kept);
    g_assert_cmpint(row.state, ==, INBOX_NEW);
    g_assert_cmpint(row.created, ==, NOW - 2);
    g_assert_cmpint(row.sent, ==, NOW - 1);
    g_assert_cmpstr(row.skid, ==, SKID);
    g_assert_cmpint(inbox_body(f->inbox, &row, &got, &fd), ==, 0);
    g_assert_cmpmem(got.data, got.size, "ours", 4);
    /* gone meanwhile */
    g_assert_cmpint(inbox_delete(f->inbox, row.id), ==, 0);
    g_assert_cmpint(inbox_keep(f->inbox, &next, &body), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_false(needs(f, now));
    /* what cannot be read needs no key; of a stranger it can be */
    g_assert_cmpint(put(f, 2, INBOX_QUARANTINED, NULL, &row), ==, 0);
    g_assert_false(needs(f, former));
    row.reason = HMSG_ERROR_UNTRUSTED;
    g_assert_cmpint(inbox_put(f->inbox, &row, NULL, NULL), ==, 0);
    g_assert_true(needs(f, former));
    g_assert_cmpint(inbox_set_kid(f->inbox, &row, INBOX_KID_NONE), ==, 0);
    g_assert_false(needs(f, former));
    g_assert_cmpint(inbox_next_hanging(f->inbox, now, 0, &next), ==, HMSG_ERROR_NOT_FOUND);
}

static void test_expire(Fixture *f, gconstpointer data)
{
    see(f, 1, 7);
    g_assert_cmpint(inbox_expire(f->inbox, NOW), ==, 0);
    g_assert_true(seen(f, 7));
    g_assert_cmpint(inbox_expire(f->inbox, NOW + 1000 + (int64_t)SESSION_RETENTION + 1), ==, 0);
    g_assert_false(seen(f, 7));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*f)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/inbox/window", test_window},
        {"/inbox/once", test_once},
        {"/inbox/acknowledgement", test_acknowledgement},
        {"/inbox/quarantine", test_quarantine},
        {"/inbox/states", test_states},
        {"/inbox/expire", test_expire},
        {"/inbox/keep", test_keep},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Fixture, NULL, set_up, tests[i].f, tear_down);
    return g_test_run();
}
