/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Resident memory of an agent: as it starts, with an identity, after use, and with many cached sessions.
 * HMSG_BENCH_SESSIONS: how many. */

#include "tests/bench/measure.h"
#include "tests/dbus/agent.h"

#define SESSIONS 10000u
#define SHOWN 10u /* how often on the way to them */
#define BAR 12.0  /* MiB */
#define CIPHER AGENT_NAME ".Cipher"
#define TEXT "Attack at dawn."

static double print_memory(const TestAgent *a, const char *when)
{
    int pid = test_process_pid(a->process);
    double rss = (double)bench_status_kib(pid, "VmRSS") / 1024;

    g_print("%s: resident %.2f MiB, of it %.2f MiB its own, %.2f MiB of files (libraries)\n", when, rss,
            (double)bench_status_kib(pid, "RssAnon") / 1024, (double)bench_status_kib(pid, "RssFile") / 1024);
    return rss;
}

static GVariant *call(TestAgent *a, const char *method, GVariant *arguments)
{
    g_autoptr(GError) error = NULL;
    GVariant *reply =
        g_dbus_connection_call_sync(a->client, AGENT_NAME, AGENT_PATH, CIPHER, method, arguments, NULL,
                                    G_DBUS_CALL_FLAGS_NONE, TEST_AWAIT_SECONDS * 1000, NULL, &error);

    if (error)
        g_error("%s: %s", method, error->message);
    return reply;
}

static GVariant *text_of(GVariant *reply)
{
    g_autoptr(GVariant) first = g_variant_get_child_value(reply, 0);

    return g_variant_ref(first);
}

/* Encrypts in a session of its own, and decrypts, after which that session is cached. */
static void add_session(TestAgent *a, GVariant *key)
{
    GVariantBuilder options;

    g_variant_builder_init(&options, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&options, "{sv}", "recipient_keys", g_variant_new_array(NULL, &key, 1));
    g_variant_builder_add(&options, "{sv}", "fresh", g_variant_new_boolean(TRUE));
    g_variant_builder_add(&options, "{sv}", "sign", g_variant_new_boolean(FALSE));
    g_autoptr(GVariant) sealed = call(a, "Encrypt",
                                      g_variant_new("(@as@aya{sv})", g_variant_new_strv(NULL, 0),
                                                    g_variant_new_bytestring(TEXT), &options));
    g_autoptr(GVariant) packages = text_of(sealed);
    g_autoptr(GVariant) package = g_variant_get_child_value(packages, 0);
    g_autoptr(GVariant) opened = call(
        a, "Decrypt",
        g_variant_new("(@ay@a{sv})", package, agent_option("allow_unknown", g_variant_new_boolean(TRUE))));
    g_autoptr(GVariant) plaintext = text_of(opened);

    g_assert_cmpstr(g_variant_get_bytestring(plaintext), ==, TEXT);
}

static guint32 cached(TestAgent *a)
{
    g_autoptr(GVariant) reply = agent_call(a, AGENT, "GetStatus", NULL);
    g_autoptr(GVariant) facts = g_variant_get_child_value(reply, 0);
    guint32 n = 0;

    g_assert_true(g_variant_lookup(facts, "sessions", "u", &n));
    return n;
}

static void measure(TestAgent *a, unsigned sessions)
{
    double at_rest, grown;

    (void)print_memory(a, "started");
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    (void)print_memory(a, "with an identity");
    g_autoptr(GVariant) reply =
        agent_call(a, IDENTITY, "ExportPublic", agent_option("format", g_variant_new_string("pem")));
    g_autoptr(GVariant) key = text_of(reply);
    add_session(a, key);
    at_rest = print_memory(a, "after the first message");
    for (unsigned i = 1; i < sessions; i++) {
        add_session(a, key);
        if (i % MAX(sessions / SHOWN, 1u) == 0) {
            g_autofree char *when = g_strdup_printf("%u sessions", cached(a));

            (void)print_memory(a, when);
        }
    }
    g_assert_cmpuint(cached(a), >=, sessions);
    grown = print_memory(a, "with all sessions");
    g_print("%u cached sessions: %.2f MiB, %.0f B each\n", sessions, grown - at_rest,
            (grown - at_rest) * 1024 * 1024 / MAX(sessions - 1, 1u));
    bench_at_most("agent at rest", at_rest, BAR, "MiB resident");
}

int main(void)
{
    TestAgent a = {0};

    if (!test_swtpm_available()) {
        g_print("swtpm is not installed\n");
        return 77;
    }
    agent_set_up(&a, NULL);
    g_autofree char *config = g_build_filename(a.folder, "agent.conf", NULL);
    g_assert_true(g_file_set_contents(config, "[sessions]\nper-minute = 0\n", -1, NULL));
    agent_start(&a, NULL);
    measure(&a, bench_setting("HMSG_BENCH_SESSIONS", SESSIONS));
    agent_stop(&a);
    agent_tear_down(&a, NULL);
    return 0;
}
