/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Diagnose, which hmsgctl doctor shows: what each check says when something is wrong, and when nothing is. */

#include <string.h>

#include "tests/dbus/agent.h"

/* The check of this name: its result and text. False: there is none. */
static bool find_check(TestAgent *a, const char *check, char **ret_result, char **ret_text)
{
    g_autoptr(GVariant) reply = agent_call(a, AGENT, "Diagnose", NULL);
    g_autoptr(GVariantIter) checks = NULL;
    const char *name, *result, *text, *help;

    g_variant_get(reply, "(a(ssss))", &checks);
    while (g_variant_iter_next(checks, "(&s&s&s&s)", &name, &result, &text, &help)) {
        if (strcmp(name, check) != 0)
            continue;
        /* who is told of a fault is told what to do */
        if (strcmp(result, "ok") != 0 && !*help)
            g_error("%s is %s, \"%s\", and nothing says what to do", check, result, text);
        *ret_result = g_strdup(result);
        *ret_text = g_strdup(text);
        return true;
    }
    return false;
}

static void expect(TestAgent *a, const char *check, const char *result, const char *says)
{
    g_autofree char *got = NULL, *text = NULL;

    if (!find_check(a, check, &got, &text))
        g_error("there is no check %s", check);
    if (strcmp(got, result) != 0 || !strstr(text, says))
        g_error("%s is %s: %s", check, got, text);
}

static void test_tpm(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    expect(a, "tpm", "ok", "firmware");
    expect(a, "lockout", "ok", "");
    expect(a, "identity", "warning", "no identity");
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    expect(a, "identity", "ok", "");
    expect(a, "signature", "ok", "32 bytes");
    test_swtpm_stop(a->tpm);
    expect(a, "tpm", "error", "");
    expect(a, "identity", "error", "");
    test_swtpm_start(a->tpm);
    expect(a, "tpm", "ok", "");
    expect(a, "identity", "ok", "");
}

/* A PIN is not used only to find something out; when it was, it is known. */
static void test_signature(TestAgent *a, gconstpointer data)
{
    g_autofree char *result = NULL, *text = NULL;

    agent_start(a, NULL);
    agent_expect_named(agent_call_with_fd(a, "Create", agent_memfd("2580")), NULL);
    g_assert_false(find_check(a, "signature", &result, &text));
    g_variant_unref(agent_call(a, IDENTITY, "ExportPublic", NULL)); /* signs */
    expect(a, "signature", "ok", "32 bytes");
    agent_stop(a);
    agent_start(a, NULL); /* locked */
    g_assert_false(find_check(a, "signature", &result, &text));
    agent_stop(a);
}

static void test_machine(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    expect(a, "firmware", "ok", "in software");
    expect(a, "keyring", "ok", "");
    expect(a, "store", "ok", "");
    expect(a, "relay", "ok", "no mailbox");
    expect(a, "bus", "ok", "descriptors");
    expect(a, "logind", "warning", "not noticed"); /* tests have no system bus */
    expect(a, "clock", "ok", "");
    g_autofree char *rules = NULL, *left_out = NULL;
    g_assert_false(find_check(a, "rules", &rules, &left_out));
    g_autofree char *result = NULL, *text = NULL;
    g_assert_true(find_check(a, "selinux", &result, &text));
    g_autofree char *sandbox = NULL, *why = NULL;
    g_assert_true(find_check(a, "sandbox", &sandbox, &why));
    if (strcmp(sandbox, "ok") != 0) /* of calls and memory there is one on every kernel */
        g_assert_nonnull(strstr(why, "Landlock"));
    g_autofree char *manager = NULL, *none = NULL;
    g_assert_false(find_check(a, "resource-manager", &manager, &none));
    agent_stop(a);
}

static void test_resource_manager(TestAgent *a, gconstpointer data)
{
    agent_start(a, "device:/dev/tpm-that-is-not-there");
    expect(a, "resource-manager", "warning", "without");
    expect(a, "tpm", "error", "");
    agent_stop(a);
}

static void test_clock(TestAgent *a, gconstpointer data)
{
    g_autofree char *file = NULL, *text = NULL;
    g_autoptr(GDir) keys = NULL;

    agent_start(a, NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    agent_stop(a);
    /* made in the year 2100 */
    g_autofree char *folder = g_build_filename(a->data, "keys", NULL);
    keys = g_dir_open(folder, 0, NULL);
    file = g_build_filename(folder, g_dir_read_name(keys), "identity.json", NULL);
    g_assert_true(g_file_get_contents(file, &text, NULL, NULL));
    g_autoptr(GRegex) created = g_regex_new("\"created\": ?[0-9]+", 0, 0, NULL);
    g_autofree char *later = g_regex_replace_literal(created, text, -1, 0, "\"created\":4102444800", 0, NULL);
    g_assert_cmpstr(later, !=, text);
    g_assert_true(g_file_set_contents(file, later, -1, NULL));
    agent_start(a, NULL);
    expect(a, "clock", "error", "behind");
    agent_stop(a);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!test_swtpm_available()) {
        g_test_message("swtpm is not installed");
        return 77;
    }
#define ADD(name, function)                                                                                  \
    g_test_add("/dbus/doctor/" name, TestAgent, NULL, agent_set_up, function, agent_tear_down)
    ADD("tpm", test_tpm);
    ADD("signature", test_signature);
    ADD("machine", test_machine);
    ADD("resource-manager", test_resource_manager);
    ADD("clock", test_clock);
    return g_test_run();
}
