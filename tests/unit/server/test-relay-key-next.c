/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The key that follows, as it stands in files; and a store that both keep. */

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "server/handlers.h"
#include "server/relay-key-next.h"
#include "server/store-sqlite.h"
#include "tests/lib/process.h"

#define NOW 1800000000
#define BITS 2048
#define ACCOUNT 54321 /* of nobody's */

typedef struct Files {
    char *folder, *key, *passphrase, *next, *successions;
    RelayKey *first;
} Files;

static void set_up(Files *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->key = g_build_filename(f->folder, "key", NULL);
    f->passphrase = g_build_filename(f->folder, "passphrase", NULL);
    f->next = g_build_filename(f->folder, "key.next", NULL);
    f->successions = g_build_filename(f->folder, "key.successions", NULL);
    g_assert_cmpint(relay_key_generate(BITS, &f->first), ==, 0);
    g_assert_cmpint(relay_key_save(f->first, f->key, f->passphrase), ==, 0);
}

static void tear_down(Files *f, gconstpointer data)
{
    (void)relay_key_free(f->first);
    test_folder_remove(f->folder);
    g_free(f->key);
    g_free(f->passphrase);
    g_free(f->next);
    g_free(f->successions);
}

static RelayKey *make_next(Files *f, RelayKey *k, int64_t now, NextKey *ret)
{
    const KeyFiles files = {f->key, f->passphrase, NULL, NULL};
    RelayKey *next = NULL;

    g_assert_cmpint(relay_key_make_next(k, &files, BITS, now, &next, ret), ==, 0);
    g_assert_true(ret->announced);
    g_assert_cmpmem(ret->pin, PIN_SIZE, relay_key_pin(next), PIN_SIZE);
    return next;
}

/* What clients are told. */
static void expect_published(RelayKey *k, const uint8_t *next, size_t n)
{
    _cleanup_(online_key_unrefp) OnlineKey *o = NULL;
    _cleanup_(relay_statement_done) RelayStatement s = {0};
    _cleanup_(json_decrefp) json_t *all = NULL;

    g_assert_cmpint(relay_key_renew(k, NOW), ==, 0);
    o = relay_key_online(k);
    const char *text = online_key_statement(o), *successions = online_key_successions(o);
    g_assert_cmpint(relay_statement_parse(text, strlen(text), relay_key_pin(k), NOW, &s), ==, 0);
    g_assert_true(s.has_next_pin == (next != NULL));
    if (next)
        g_assert_cmpmem(s.next_pin, PIN_SIZE, next, PIN_SIZE);
    g_assert_cmpint(json_parse_array(successions, strlen(successions), &all), ==, 0);
    g_assert_cmpuint(json_array_size(all), ==, n);
}

static void test_made(Files *f, gconstpointer data)
{
    NextKey known, made, again;

    g_assert_cmpint(relay_key_load_next(f->first, f->key, NOW, &known), ==, 0);
    g_assert_false(known.announced);
    expect_published(f->first, NULL, 0);
    _cleanup_(relay_key_freep) RelayKey *next = make_next(f, f->first, NOW, &made);
    g_assert_cmpint(made.since, ==, NOW);
    _cleanup_(relay_key_freep) RelayKey *same = make_next(f, f->first, NOW + 5, &again);
    g_assert_cmpint(again.since, ==, NOW);
    g_assert_cmpmem(again.pin, PIN_SIZE, made.pin, PIN_SIZE);
    g_assert_cmpint(relay_key_load_next(f->first, f->key, NOW, &known), ==, 0);
    g_assert_true(known.announced);
    expect_published(f->first, relay_key_pin(next), 1);

    /* lost: another one takes its place, in what is announced as well */
    g_assert_cmpint(g_unlink(f->next), ==, 0);
    _cleanup_(relay_key_freep) RelayKey *other = make_next(f, f->first, NOW + 9, &again);
    g_assert_cmpint(again.since, ==, NOW + 9);
    g_assert_cmpint(relay_key_load_next(f->first, f->key, NOW + 9, NULL), ==, 0);
    expect_published(f->first, relay_key_pin(other), 1);
}

/* The machine stopped between the key and its statement. */
static void test_half_made(Files *f, gconstpointer data)
{
    NextKey made, again;
    _cleanup_(relay_key_freep) RelayKey *next = make_next(f, f->first, NOW, &made);

    g_assert_cmpint(g_unlink(f->successions), ==, 0);
    _cleanup_(relay_key_freep) RelayKey *same = make_next(f, f->first, NOW + 7, &again);
    g_assert_cmpmem(again.pin, PIN_SIZE, made.pin, PIN_SIZE);
    g_assert_cmpint(again.since, ==, NOW + 7);
}

/* Many changes in a row: the newest statements are kept, and lead to the key of now. */
static void test_switched(Files *f, gconstpointer data)
{
    _cleanup_(relay_key_freep) RelayKey *k = NULL;
    uint8_t pins[SUCCESSIONS_MAX + 3][PIN_SIZE];
    NextKey made;

    g_assert_cmpint(relay_key_switch(f->key), ==, -ENOENT);
    g_assert_cmpint(relay_key_load(f->key, f->passphrase, NULL, &k), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(pins); i++) {
        memcpy(pins[i], relay_key_pin(k), PIN_SIZE);
        (void)relay_key_free(make_next(f, k, NOW, &made));
        g_assert_cmpint(relay_key_switch(f->key), ==, 0);
        g_assert_false(g_file_test(f->next, G_FILE_TEST_EXISTS));
        k = relay_key_free(k);
        g_assert_cmpint(relay_key_load(f->key, f->passphrase, NULL, &k), ==, 0);
        g_assert_cmpmem(relay_key_pin(k), PIN_SIZE, made.pin, PIN_SIZE);
    }
    g_assert_cmpint(relay_key_load_next(k, f->key, NOW, NULL), ==, 0);
    expect_published(k, NULL, SUCCESSIONS_MAX);
    g_autofree char *text = NULL;
    _cleanup_(json_decrefp) json_t *all = NULL;
    g_assert_true(g_file_get_contents(f->successions, &text, NULL, NULL));
    g_assert_cmpint(json_parse_array(text, strlen(text), &all), ==, 0);
    g_assert_cmpint(succession_follow(all, pins[3], NULL, relay_key_pin(k), NOW), ==, 0);
    g_assert_cmpint(succession_follow(all, pins[2], NULL, relay_key_pin(k), NOW), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
}

/* What root makes is the relay's. */
static void test_owner(Files *f, gconstpointer data)
{
    const char *const made[] = {f->next, f->successions};
    NextKey next;
    GStatBuf st;

    if (geteuid() != 0) {
        g_test_skip("not root");
        return;
    }
    g_assert_cmpint(chown(f->key, ACCOUNT, ACCOUNT + 1), ==, 0);
    (void)relay_key_free(make_next(f, f->first, NOW, &next));
    for (size_t i = 0; i < G_N_ELEMENTS(made); i++) {
        g_assert_cmpint(g_stat(made[i], &st), ==, 0);
        g_assert_cmpuint(st.st_uid, ==, ACCOUNT);
        g_assert_cmpuint(st.st_gid, ==, ACCOUNT + 1);
    }
}

static void test_bad_file(Files *f, gconstpointer data)
{
    static const char *const bad[] = {"", "x", "{}", "[1]", "[\"a\",null]"};
    NextKey next;

    (void)relay_key_free(make_next(f, f->first, NOW, &next));
    g_assert_cmpint(relay_key_load_next(f->first, f->key, NOW, NULL), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_true(g_file_set_contents(f->successions, bad[i], -1, NULL));
        g_assert_cmpint(relay_key_load_next(f->first, f->key, NOW, &next), ==, HMSG_ERROR_BAD_PACKAGE);
    }
    /* what was read before goes on */
    expect_published(f->first, next.pin, 1);
}

static int open_store(const Files *f, RelayKey *k)
{
    const StoreKeeper keeper = handlers_keeper(k);
    StoreReader *reader = NULL;
    int r = store_sqlite_open_reader(f->folder, &keeper, &reader);

    (void)store_reader_free(reader);
    return r;
}

typedef struct Both {
    RelayKey *a, *b;
} Both;

static int wrap(void *userdata, const Secret *secret, Buf *ret)
{
    const Both *both = userdata;
    int r = relay_key_wrap(both->a, secret, ret);

    return r == 0 ? relay_key_wrap(both->b, secret, ret) : r;
}

static int unwrap(void *userdata, const void *wrapped, size_t n, Secret **ret)
{
    const Both *both = userdata;

    return relay_key_unwrap(both->a, wrapped, n, ret);
}

static void test_store(Files *f, gconstpointer data)
{
    _cleanup_(relay_key_freep) RelayKey *second = NULL, *larger = NULL;
    const StoreKeeper first = handlers_keeper(f->first);
    _cleanup_(store_freep) Store *store = NULL;
    StoreLimits limits;

    g_assert_cmpint(relay_key_generate(BITS, &second), ==, 0);
    g_assert_cmpint(relay_key_generate(4096, &larger), ==, 0);
    Both both = {f->first, second}, up = {second, larger};
    const StoreKeeper by_both = {wrap, unwrap, &both}, by_up = {wrap, unwrap, &up};
    const StoreKeeper by_second = handlers_keeper(second);
    g_assert_cmpint(store_sqlite_rewrap(f->folder, &first), ==, -ENOENT);
    store_limits_init(&limits);
    g_assert_cmpint(store_sqlite_open(f->folder, &limits, &first, &store), ==, 0);
    g_assert_cmpint(store_sqlite_rewrap(f->folder, &by_both), ==, -EBUSY);
    store = store_free(store);

    g_assert_cmpint(store_sqlite_rewrap(f->folder, &by_second), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(open_store(f, f->first), ==, 0);
    g_assert_cmpint(store_sqlite_rewrap(f->folder, &by_both), ==, 0);
    g_assert_cmpint(open_store(f, f->first), ==, 0);
    g_assert_cmpint(open_store(f, second), ==, 0);
    g_assert_cmpint(open_store(f, larger), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(store_sqlite_rewrap(f->folder, &by_second), ==, 0);
    g_assert_cmpint(open_store(f, f->first), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(open_store(f, second), ==, 0);
    /* of another size */
    g_assert_cmpint(store_sqlite_rewrap(f->folder, &by_up), ==, 0);
    g_assert_cmpint(open_store(f, second), ==, 0);
    g_assert_cmpint(open_store(f, larger), ==, 0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*f)(Files *, gconstpointer);
    } tests[] = {
        {"/relay-key-next/made", test_made},         {"/relay-key-next/half-made", test_half_made},
        {"/relay-key-next/switched", test_switched}, {"/relay-key-next/bad-file", test_bad_file},
        {"/relay-key-next/store", test_store},       {"/relay-key-next/owner", test_owner},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Files, NULL, set_up, tests[i].f, tear_down);
    return g_test_run();
}
