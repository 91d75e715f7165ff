/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/keyring.h"
#include "agent/session-in.h"
#include "tests/unit/agent/double.h"

typedef struct Cache {
    Double *d;
    SessionIn *s;
} Cache;

static void cache_open(Cache *c)
{
    c->d = double_new();
    g_assert_cmpint(session_in_new(double_manager(c->d), &c->s), ==, 0);
}

static void cache_close(Cache *c)
{
    session_in_free(c->s);
    double_free(c->d);
}

static void id_of(unsigned n, uint8_t *id)
{
    memset(id, 0, SHA256_SIZE);
    memcpy(id, &n, sizeof(n));
}

static Secret *keys_of(unsigned n)
{
    Secret *keys = NULL;

    g_assert_cmpint(secret_new(SESSION_KEYS_SIZE, &keys), ==, 0);
    memset(secret_data(keys), (int)n + 1, SESSION_KEYS_SIZE);
    return keys;
}

static SessionInEntry *put(Cache *c, unsigned n)
{
    static const SessionStatement anybody = {.expires = 1};
    _cleanup_(secret_freep) Secret *keys = keys_of(n);
    SessionInEntry *e = NULL;
    uint8_t id[SHA256_SIZE];

    id_of(n, id);
    g_assert_cmpint(session_in_put(c->s, &(SessionInNew){id, id, &anybody, true, keys}, &e), ==, 0);
    return e;
}

static SessionInEntry *find(Cache *c, unsigned n)
{
    uint8_t id[SHA256_SIZE];

    id_of(n, id);
    return session_in_find(c->s, id);
}

static int get(Cache *c, SessionInEntry *e, unsigned n)
{
    _cleanup_(secret_freep) Secret *keys = NULL;
    _cleanup_(secret_freep) Secret *expected = keys_of(n);
    int r;

    g_assert_cmpint(secret_new(SESSION_KEYS_SIZE, &keys), ==, 0);
    r = session_in_keys(c->s, e, keys);
    if (r == 0)
        g_assert_true(secret_equal(keys, expected));
    return r;
}

static void test_put_get(void)
{
    Cache c;

    cache_open(&c);
    g_assert_null(find(&c, 1));
    for (unsigned i = 0; i < 200; i++)
        put(&c, i);
    g_assert_cmpuint(session_in_count(c.s), ==, 200);
    for (unsigned i = 0; i < 200; i++)
        g_assert_cmpint(get(&c, find(&c, i), i), ==, 0);
    put(&c, 7); /* takes the place of the other */
    g_assert_cmpuint(session_in_count(c.s), ==, 200);
    cache_close(&c);
}

static void test_statement(void)
{
    _cleanup_(secret_freep) Secret *keys = keys_of(1);
    SessionStatement statement = {.created = 5, .expires = 6};
    SessionInEntry *e = NULL;
    uint8_t id[SHA256_SIZE], recall_id[SHA256_SIZE];
    Cache c;

    cache_open(&c);
    id_of(1, id);
    id_of(3, recall_id);
    g_assert_cmpint(session_in_put(c.s, &(SessionInNew){id, recall_id, &statement, false, keys}, &e), ==, 0);
    g_assert_cmpint(session_in_statement(e)->created, ==, 5);
    g_assert_false(session_in_is_anonymous(e));
    g_assert_true(session_in_is_anonymous(put(&c, 2)));
    g_assert_true(session_in_recall(c.s, recall_id) == e);
    g_assert_null(session_in_recall(c.s, id));
    g_assert_false(session_in_answer(e)->there);
    g_assert_cmpint(sender_answer_set(session_in_answer(e), 3, CONTACT_VERIFIED, "bob@relay", "tpm"), ==, 0);
    g_assert_cmpuint(session_in_answer(find(&c, 1))->generation, ==, 3);
    g_assert_cmpstr(session_in_answer(find(&c, 1))->address, ==, "bob@relay");
    cache_close(&c);
}

static void test_replay(void)
{
    SessionInEntry *e;
    Cache c;

    cache_open(&c);
    e = put(&c, 1);
    g_assert_false(session_in_use(c.s, e, 0));
    g_assert_true(session_in_use(c.s, e, 0));
    g_assert_false(session_in_use(c.s, e, 5));
    g_assert_false(session_in_use(c.s, e, 3));
    g_assert_true(session_in_use(c.s, e, 3));
    g_assert_true(session_in_use(c.s, e, 5));
    g_assert_false(session_in_use(c.s, e, 68));
    g_assert_true(session_in_use(c.s, e, 5));  /* 63 behind: seen */
    g_assert_true(session_in_use(c.s, e, 4));  /* 64 behind: nobody knows */
    g_assert_false(session_in_use(c.s, e, 6)); /* within */
    g_assert_false(session_in_use(c.s, e, 4294967295u));
    g_assert_true(session_in_use(c.s, e, 68));
    cache_close(&c);
}

static void test_failed(void)
{
    uint8_t id[SHA256_SIZE];
    Cache c;

    cache_open(&c);
    for (unsigned i = 0; i <= SESSION_CACHE_FAILED_MAX; i++) {
        id_of(i, id);
        g_assert_false(session_in_has_failed(c.s, id));
        g_assert_cmpint(session_in_put_failed(c.s, id), ==, 0);
        g_assert_cmpint(session_in_put_failed(c.s, id), ==, 0);
        g_assert_true(session_in_has_failed(c.s, id));
    }
    id_of(0, id);
    g_assert_false(session_in_has_failed(c.s, id)); /* the oldest went */
    id_of(1, id);
    g_assert_true(session_in_has_failed(c.s, id));
    g_assert_cmpint(session_in_lock(c.s), ==, 0);
    (void)session_in_flush(c.s, NULL);
    g_assert_true(session_in_has_failed(c.s, id)); /* which is no secret */
    cache_close(&c);
}

static int collect(const SessionInFacts *f, void *userdata)
{
    GPtrArray *names = userdata;

    g_assert_cmpuint(strlen(f->name), ==, SESSION_NAME_SIZE - 1);
    g_assert_cmpint(f->last_used, >=, f->created - 1);
    g_ptr_array_add(names, g_strdup(f->name));
    return 0;
}

static void test_flush(void)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    Cache c;

    cache_open(&c);
    for (unsigned i = 0; i < 3; i++)
        put(&c, i);
    g_assert_cmpint(session_in_each(c.s, collect, names), ==, 0);
    g_assert_cmpuint(names->len, ==, 3);
    g_assert_cmpuint(session_in_flush(c.s, "nobody"), ==, 0);
    g_assert_cmpuint(session_in_flush(c.s, names->pdata[1]), ==, 1);
    g_assert_null(find(&c, 1));
    g_assert_nonnull(find(&c, 2));
    g_assert_cmpuint(session_in_flush(c.s, NULL), ==, 2);
    g_assert_cmpuint(session_in_count(c.s), ==, 0);
    cache_close(&c);
}

static void test_lock(void)
{
    SessionInEntry *e;
    Cache c;

    cache_open(&c);
    put(&c, 1);
    g_assert_cmpint(session_in_lock(c.s), ==, 0);
    g_assert_null(find(&c, 1));
    /* the keyring was locked by somebody else: the entry notices */
    e = put(&c, 2);
    g_assert_cmpint(keyring_lock(double_manager(c.d)->keyring), ==, 0);
    g_assert_cmpint(get(&c, e, 2), ==, -ENOKEY);
    g_assert_null(find(&c, 2));
    g_assert_cmpint(get(&c, put(&c, 3), 3), ==, 0);
    cache_close(&c);
}

static void configure(Double *d, const char *text)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("hmsg-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, text, strlen(text)), ==, (gssize)strlen(text));
    close(fd);
    config_free(double_manager(d)->config);
    g_assert_cmpint(config_load(path, &double_manager(d)->config, NULL), ==, 0);
    unlink(path);
}

static void test_config(void)
{
    g_autoptr(Double) d = double_new();
    SessionIn *s = NULL;

    configure(d, "[sessions]\nidle = 2min\nlifetime = 1h\n");
    g_assert_cmpint(session_in_new(double_manager(d), &s), ==, 0);
    g_assert_cmpuint(session_in_idle_timeout(s), ==, 120);
    g_assert_cmpuint(session_in_absolute_timeout(s), ==, 3600);
    session_in_free(s);
    configure(d, "[sessions]\nidle = 0\n");
    g_assert_cmpint(session_in_new(double_manager(d), &s), ==, -EINVAL);
    configure(d, "[sessions]\nidle = 18446744073710s\n"); /* in µs more than 64 bits */
    g_assert_cmpint(session_in_new(double_manager(d), &s), ==, -EINVAL);
    configure(d, "[sessions]\nlifetime = 60d\n");
    g_assert_cmpint(session_in_new(double_manager(d), &s), ==, -EINVAL);
    configure(d, "[sessions]\nidle = soon\n");
    g_assert_cmpint(session_in_new(double_manager(d), &s), ==, -EINVAL);
}

/* Waits for the time-out itself, not for a guess of it: at the latest the clock has passed it then. */
static void test_idle(void)
{
    Cache c;

    c.d = double_new();
    configure(c.d, "[sessions]\nidle = 1s\n");
    g_assert_cmpint(session_in_new(double_manager(c.d), &c.s), ==, 0);
    put(&c, 1);
    while (session_in_find(c.s, (uint8_t[SHA256_SIZE]){1}))
        g_usleep(10000);
    g_assert_cmpuint(session_in_count(c.s), ==, 0);
    cache_close(&c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/session-in/put-get", test_put_get);
    g_test_add_func("/session-in/statement", test_statement);
    g_test_add_func("/session-in/replay", test_replay);
    g_test_add_func("/session-in/failed", test_failed);
    g_test_add_func("/session-in/flush", test_flush);
    g_test_add_func("/session-in/lock", test_lock);
    g_test_add_func("/session-in/config", test_config);
    g_test_add_func("/session-in/idle", test_idle);
    return g_test_run();
}
