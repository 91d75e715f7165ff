/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Rotation as programs see it. */

#include <string.h>
#include <sys/wait.h>

#include "tests/dbus/cipher.h"

#define INVALID_ARGS "org.freedesktop.DBus.Error.InvalidArgs"
#define KILLS_DEFAULT 8u
#define KILL_STEP 60000u /* µs; a rotation takes about half a second with a TPM in software */

/* Decrypts "text"; returns info. */
static GVariant *decrypt(TestAgent *a, const GByteArray *p)
{
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    g_autoptr(GVariant) reply =
        cipher_call(a, "Decrypt",
                    g_variant_new("(@ay@a{sv})", cipher_bytes(p->data, p->len), g_variant_dict_end(&options)),
                    NULL, NULL, NULL);
    g_autoptr(GVariant) bytes = g_variant_get_child_value(reply, 0);
    g_autoptr(GByteArray) text = cipher_array(bytes);
    g_assert_cmpmem(text->data, text->len, "text", 4);
    return g_variant_get_child_value(reply, 1);
}

static void expect_readable(TestAgent *a, const GByteArray *p, bool cached)
{
    g_autoptr(GVariant) info = decrypt(a, p);
    gboolean b = FALSE;

    g_assert_true(g_variant_lookup(info, "verified", "b", &b) && b); /* our own sign key of then */
    g_assert_true(g_variant_lookup(info, "cached", "b", &b));
    g_assert_cmpint(b, ==, cached);
}

static guint64 number(TestAgent *a, const char *key)
{
    g_autoptr(GVariant) reply = agent_call(a, IDENTITY, "Show", NULL);
    g_autoptr(GVariant) facts = g_variant_get_child_value(reply, 0);
    guint64 n = 0;

    g_assert_true(g_variant_lookup(facts, key, "t", &n));
    return n;
}

/* What GetStatus says of the former keys: kid and end of each, in this order. */
static void expect_former(TestAgent *a, size_t n, const char *const *kids)
{
    g_autoptr(GVariant) reply = agent_call(a, AGENT, "GetStatus", NULL);
    g_autoptr(GVariant) facts = g_variant_get_child_value(reply, 0);
    g_autoptr(GVariant) former = g_variant_lookup_value(facts, "former_keys", G_VARIANT_TYPE("a(sttb)"));
    guint64 last = 0;

    g_assert_nonnull(former);
    g_assert_cmpuint(g_variant_n_children(former), ==, n);
    for (size_t i = 0; i < n; i++) {
        guint64 generation, until;
        const char *kid;
        gboolean held;

        g_variant_get_child(former, i, "(&sttb)", &kid, &generation, &until, &held);
        g_assert_cmpstr(kid, ==, kids[i]);
        g_assert_cmpuint(generation, >, last);
        g_assert_cmpuint(until, >, (guint64)g_get_real_time() / G_USEC_PER_SEC);
        g_assert_false(held);
        last = generation;
    }
}

static void test_rotate(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    agent_expect_error(a, IDENTITY, "Rotate", NULL, ERROR("NoIdentity"));
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    g_autofree char *kid = agent_fact(a, IDENTITY, "Show", "kid");
    guint64 generation = number(a, "generation");
    g_autoptr(GByteArray) one = cipher_package(a);
    expect_readable(a, one, false);
    g_variant_unref(agent_call(a, IDENTITY, "Rotate", NULL));
    g_autofree char *next = agent_fact(a, IDENTITY, "Show", "kid");
    g_assert_cmpstr(kid, !=, next);
    g_assert_cmpuint(number(a, "generation"), ==, generation + 1);
    g_assert_cmpuint(number(a, "former"), ==, 1);
    expect_former(a, 1, (const char *const[]){kid});
    g_assert_cmpuint(number(a, "former_until"), >, (guint64)g_get_real_time() / G_USEC_PER_SEC);
    expect_readable(a, one, true); /* its session stays */
    g_autoptr(GByteArray) two = cipher_package(a);
    expect_readable(a, two, false);
    agent_stop(a);
    agent_start(a, NULL);
    expect_readable(a, one, false);
    expect_readable(a, two, false);
    agent_expect_error(a, IDENTITY, "Rotate", agent_option("grace", g_variant_new_uint64(G_MAXUINT64 - 1)),
                       INVALID_ARGS);
    agent_expect_error(a, IDENTITY, "Rotate", agent_option("generation", g_variant_new_string("none")),
                       INVALID_ARGS);
    g_variant_unref(agent_call(a, IDENTITY, "Rotate", agent_option("grace", g_variant_new_uint64(3600))));
    g_assert_cmpuint(number(a, "former"), ==, 2);
    expect_former(a, 2, (const char *const[]){kid, next});
    g_variant_unref(agent_call(a, IDENTITY, "Rotate", agent_option("grace", g_variant_new_uint64(0))));
    expect_former(a, 0, NULL);
    g_assert_cmpuint(number(a, "former"), ==, 0);
    agent_stop(a);
}

/* Killed anywhere, the agent has the old keys or the new ones, and both are whole. */
static void test_kill(TestAgent *a, gconstpointer data)
{
    const char *many = g_getenv("HMSG_TEST_KILLS");
    unsigned kills = many ? (unsigned)g_ascii_strtoull(many, NULL, 10) : KILLS_DEFAULT;

    agent_start(a, NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    g_autoptr(GByteArray) one = cipher_package(a);
    for (unsigned i = 0; i < kills; i++) {
        g_autofree char *kid = agent_fact(a, IDENTITY, "Show", "kid");
        guint64 former = number(a, "former");

        g_dbus_connection_call(a->client, AGENT_NAME, AGENT_PATH, IDENTITY, "Rotate",
                               g_variant_new("(a{sv})", NULL), NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL,
                               NULL);
        g_assert_true(g_dbus_connection_flush_sync(a->client, NULL, NULL));
        g_usleep(i % KILLS_DEFAULT * KILL_STEP);
        test_process_signal(a->process, SIGKILL);
        g_assert_true(WIFSIGNALED(test_process_wait(g_steal_pointer(&a->process))));
        test_swtpm_reset(a->tpm); /* what it held for the agent is gone */
        agent_start(a, NULL);
        agent_expect_state(a, "ready");
        g_autofree char *now = agent_fact(a, IDENTITY, "Show", "kid");
        g_assert_cmpuint(number(a, "former"), ==, strcmp(kid, now) == 0 ? former : former + 1);
        expect_readable(a, one, false);
    }
    g_autoptr(GByteArray) two = cipher_package(a);
    expect_readable(a, two, false);
    agent_stop(a);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dbus/rotate/rotate", TestAgent, NULL, agent_set_up, test_rotate, agent_tear_down);
    g_test_add("/dbus/rotate/kill", TestAgent, NULL, agent_set_up, test_kill, agent_tear_down);
    return g_test_run();
}
