/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/keyring.h"

#include <errno.h>
#include <glib.h>
#include <keyutils.h>
#include <string.h>

#include "tests/lib/child.h"
#include "tests/lib/user.h"

#define MANY 10000u
#define LIFETIME 3600u

/* Every test in a process of its own: the process keyring is one, and lasts as long as the process. */
typedef struct Run {
    void (*f)(Keyring *k);
} Run;

static void fill(uint8_t key[static KEYRING_KEY_SIZE], unsigned n)
{
    for (unsigned i = 0; i < KEYRING_KEY_SIZE; i++)
        key[i] = (uint8_t)(n * 7 + (n >> 8) + i);
}

static KeyringEntry *put(Keyring *k, unsigned n)
{
    uint8_t key[KEYRING_KEY_SIZE];
    KeyringEntry *e = NULL;

    fill(key, n);
    g_assert_cmpint(keyring_put(k, key, LIFETIME, &e), ==, 0);
    return e;
}

static void check(Keyring *k, KeyringEntry *e, unsigned n)
{
    _cleanup_(secret_freep) Secret *out = NULL;
    uint8_t key[KEYRING_KEY_SIZE];

    fill(key, n);
    g_assert_cmpint(secret_new(KEYRING_KEY_SIZE, &out), ==, 0);
    g_assert_cmpint(keyring_get(k, e, out), ==, 0);
    g_assert_cmpmem(secret_bytes(out), secret_size(out), key, sizeof(key));
}

static void check_gone(Keyring *k, KeyringEntry *e)
{
    _cleanup_(secret_freep) Secret *out = NULL;

    g_assert_cmpint(secret_new(KEYRING_KEY_SIZE, &out), ==, 0);
    g_assert_cmpint(keyring_get(k, e, out), ==, -ENOKEY);
}

static void run(void *data)
{
    const Run *r = data;
    Keyring *k = NULL;

    g_assert_cmpint(keyring_new(&k), ==, 0);
    r->f(k);
    g_assert_null(keyring_free(k));
}

static void test(gconstpointer data)
{
    Run r = *(const Run *)data;

    test_in_child(run, &r);
}

static void hot_and_wrapped(Keyring *k)
{
    KeyringEntry *e[KEYRING_HOT_MAX + 8];

    for (unsigned i = 0; i < G_N_ELEMENTS(e); i++)
        e[i] = put(k, i);
    g_assert_cmpuint(keyring_count_hot(k), ==, KEYRING_HOT_MAX);
    g_assert_false(keyring_entry_is_hot(e[0])); /* the least recently used made room */
    g_assert_true(keyring_entry_is_hot(e[G_N_ELEMENTS(e) - 1]));
    for (unsigned i = 0; i < G_N_ELEMENTS(e); i++)
        check(k, e[i], i);
    for (unsigned i = 0; i < G_N_ELEMENTS(e); i++)
        e[i] = keyring_drop(k, e[i]);
    g_assert_cmpuint(keyring_count_hot(k), ==, 0);
}

static void lock(Keyring *k)
{
    KeyringEntry *e[KEYRING_HOT_MAX + 1];

    for (unsigned i = 0; i < G_N_ELEMENTS(e); i++)
        e[i] = put(k, i);
    g_assert_cmpint(keyring_lock(k), ==, 0);
    g_assert_cmpuint(keyring_count_hot(k), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(e); i++)
        check_gone(k, e[i]);
    KeyringEntry *later = put(k, 1);
    check(k, later, 1);
    keyring_drop(k, later);
    for (unsigned i = 0; i < G_N_ELEMENTS(e); i++) {
        check_gone(k, e[i]);
        keyring_drop(k, e[i]);
    }
}

static void lifetime(Keyring *k)
{
    uint8_t key[KEYRING_KEY_SIZE];
    KeyringEntry *e = NULL;

    fill(key, 1);
    g_assert_cmpint(keyring_put(k, key, 0, &e), ==, 0);
    check_gone(k, e);
    keyring_drop(k, e);
}

/* Whoever takes the keys from under us costs an unwrapping, not a wrong key. */
static void cleared(Keyring *k)
{
    KeyringEntry *hot = put(k, 1);

    g_assert_cmpint(keyctl_clear(KEY_SPEC_PROCESS_KEYRING), ==, 0);
    check_gone(k, hot);
    g_assert_false(keyring_entry_is_hot(hot));
    keyring_drop(k, hot);
}

static void sizes(Keyring *k)
{
    _cleanup_(secret_freep) Secret *small = NULL;
    KeyringEntry *e = put(k, 1);

    g_assert_cmpint(secret_new(KEYRING_KEY_SIZE - 1, &small), ==, 0);
    g_assert_cmpint(keyring_get(k, e, small), ==, -EINVAL);
    keyring_drop(k, e);
    g_assert_null(keyring_drop(k, NULL));
}

static void ten_thousand(void *data)
{
    g_autofree KeyringEntry **e = g_new0(KeyringEntry *, MANY);
    Keyring *k = NULL;

    test_user_become(TEST_USER_QUOTA);
    g_assert_cmpint(keyring_new(&k), ==, 0);
    for (unsigned i = 0; i < MANY; i++)
        e[i] = put(k, i);
    g_assert_cmpuint(keyring_count_hot(k), <=, KEYRING_HOT_MAX);
    g_assert_cmpuint(keyring_count_hot(k), >, 0);
    for (unsigned i = 0; i < MANY; i++)
        check(k, e[i], i);
    for (unsigned i = 0; i < MANY; i++)
        keyring_drop(k, e[i]);
    keyring_free(k);
}

static void test_ten_thousand(void)
{
    test_in_child(ten_thousand, NULL);
}

/* Until nothing more fits: the user's other programs use the same quota. */
static void fill_quota(void)
{
    char name[32];

    for (unsigned i = 0;; i++) {
        (void)g_snprintf(name, sizeof(name), "fill-%u", i);
        if (add_key("user", name, name, sizeof(name), KEY_SPEC_THREAD_KEYRING) < 0) {
            g_assert_cmpint(errno, ==, EDQUOT);
            return;
        }
    }
}

static void full_later(void *data)
{
    KeyringEntry *e;
    Keyring *k = NULL;

    test_user_become(TEST_USER_FULL);
    g_assert_cmpint(keyring_new(&k), ==, 0);
    fill_quota();
    e = put(k, 1); /* no room for a key of its own: wrapped */
    g_assert_false(keyring_entry_is_hot(e));
    check(k, e, 1);
    keyring_drop(k, e);
    keyring_free(k);
}

static void full_before(void *data)
{
    Keyring *k = NULL;

    test_user_become(TEST_USER_FULL_BEFORE);
    fill_quota();
    g_assert_cmpint(keyring_new(&k), ==, -EDQUOT);
    g_assert_null(k);
}

/* What a lock of the sessions leaves alone. */
static void kept(Keyring *k)
{
    uint8_t key[KEYRING_KEY_SIZE];
    KeyringEntry *e = NULL, *session;

    fill(key, 1);
    g_assert_cmpint(keyring_keep(k, key, &e), ==, 0);
    for (unsigned i = 0; i < KEYRING_HOT_MAX; i++)
        (void)put(k, i);
    session = put(k, 7);
    check(k, e, 1);
    g_assert_cmpuint(keyring_count_hot(k), ==, KEYRING_HOT_MAX);
    g_assert_cmpint(keyring_lock(k), ==, 0);
    check_gone(k, session);
    check(k, e, 1);
    keyring_drop(k, e);
}

static void test_full_later(void)
{
    test_in_child(full_later, NULL);
}

static void test_full_before(void)
{
    test_in_child(full_before, NULL);
}

int main(int argc, char **argv)
{
    static const Run runs[] = {{hot_and_wrapped}, {lock}, {lifetime}, {cleared}, {sizes}, {kept}};

    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/agent/keyring/hot-and-wrapped", &runs[0], test);
    g_test_add_data_func("/agent/keyring/lock", &runs[1], test);
    g_test_add_data_func("/agent/keyring/lifetime", &runs[2], test);
    g_test_add_data_func("/agent/keyring/cleared", &runs[3], test);
    g_test_add_data_func("/agent/keyring/sizes", &runs[4], test);
    g_test_add_data_func("/agent/keyring/kept", &runs[5], test);
    g_test_add_func("/agent/keyring/ten-thousand-sessions", test_ten_thousand);
    g_test_add_func("/agent/keyring/quota-full-later", test_full_later);
    g_test_add_func("/agent/keyring/quota-full-before", test_full_before);
    return g_test_run();
}
