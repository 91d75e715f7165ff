/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mail between users, each with an agent of their own, by way of a relay. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/integration/mail.h"

#define FILE_SIZE (3 * 1024 * 1024 + 7)
#define EXPIRES_SECONDS 2
#define TEXT "Dear Bob,\nhere are the plans.\n"
#define SUBJECT "The plans for the boathouse"

static void set_up(MailPair *p, gconstpointer data)
{
    mail_pair_open(p);
    scene_user_register(p->alice);
    scene_user_register(p->bob);
}

/* A line with all these words, in this order. */
static bool log_has(const char *log, const char *first, const char *second, const char *third)
{
    g_autofree char *text = mail_log(log);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (size_t i = 0; lines[i]; i++) {
        const char *at = strstr(lines[i], first);

        if (at && (at = strstr(at, second)) && strstr(at, third))
            return true;
    }
    return false;
}

static void test_offline(MailPair *p, gconstpointer data)
{
    g_autofree char *file = mail_file(p->scene, "plans.bin", FILE_SIZE);
    g_autofree char *got = scene_path(p->scene, "got.bin");

    scene_agent_stop(p->bob);
    g_autofree char *id = mail_send(p->alice, scene_address(p->bob), TEXT);
    scene_ctl_expect(p->alice, 0, "send", "-r", scene_address(p->bob), file, NULL);
    TEST_AWAIT(mail_states_are(p->alice, "accepted,accepted"));
    g_assert_true(mail_relay_holds(p->scene, 2, 1));

    scene_agent_start(p->bob);
    TEST_AWAIT(mail_count(p->bob, "new") == 2);
    g_auto(GStrv) ids = mail_ids(p->bob);
    g_autofree char *text = mail_read(p->bob, ids[0]);
    g_assert_cmpstr(text, ==, TEXT);
    scene_ctl_expect(p->bob, 0, "read", ids[1], "-o", got, NULL);
    mail_files_equal(file, got);
    g_assert_cmpuint(mail_count(p->bob, "read"), ==, 2);

    TEST_AWAIT(mail_states_are(p->alice, "delivered,delivered"));
    TEST_AWAIT(mail_relay_holds(p->scene, 0, 0));
}

static void test_online(MailPair *p, gconstpointer data)
{
    g_autofree char *sent_log = NULL;
    g_autofree char *got_log = NULL;
    g_autoptr(TestProcess) sent = mail_monitor(p->scene, p->alice, "alice.log", &sent_log);
    g_autoptr(TestProcess) got = mail_monitor(p->scene, p->bob, "bob.log", &got_log);
    g_autofree char *id = mail_send(p->alice, scene_address(p->bob), TEXT);
    g_autofree char *text = mail_await(p->bob, 1);
    g_auto(GStrv) ids = mail_ids(p->bob);

    g_assert_cmpstr(text, ==, TEXT);
    TEST_AWAIT(log_has(got_log, ids[0], "received", ""));
    TEST_AWAIT(log_has(sent_log, "state", id, "accepted"));
    TEST_AWAIT(log_has(sent_log, "state", id, "delivered"));
    g_assert_false(log_has(sent_log, "state", id, "failed"));

    /* and back */
    g_autofree char *answer = mail_send(p->bob, scene_address(p->alice), "Thanks.");
    g_autofree char *back = mail_await(p->alice, 1);
    g_assert_cmpstr(back, ==, "Thanks.");
    TEST_AWAIT(log_has(sent_log, "size", "received", ""));
}

/* Many at once arrive all, each once. */
static void test_many(MailPair *p, gconstpointer data)
{
    enum { N = 40 };

    for (size_t i = 0; i < N; i++) {
        g_autofree char *text = g_strdup_printf("number %zu", i);
        g_autofree char *id = mail_send(p->alice, scene_address(p->bob), text);
    }
    TEST_AWAIT(mail_count(p->bob, "new") == N);
    g_auto(GStrv) ids = mail_ids(p->bob);
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (size_t i = 0; i < N; i++)
        (void)g_hash_table_add(seen, mail_read(p->bob, ids[i]));
    for (size_t i = 0; i < N; i++) {
        g_autofree char *text = g_strdup_printf("number %zu", i);

        g_assert_true(g_hash_table_contains(seen, text));
    }
    TEST_AWAIT(mail_relay_holds(p->scene, 0, 0));
}

static void test_recipients(MailPair *p, gconstpointer data)
{
    SceneUser *carol = scene_user_new(p->scene, "carol");
    g_autofree char *file = mail_file(p->scene, "small.bin", 1000);
    g_autofree char *large = mail_file(p->scene, "large.bin", FILE_SIZE);
    SceneUser *const both[] = {p->bob, carol};

    scene_user_register(carol);
    scene_ctl_expect(p->alice, 0, "send", "-r", scene_address(p->bob), "-r", scene_address(carol),
                     "--subject", SUBJECT, file, NULL);
    scene_ctl_expect(p->alice, 0, "send", "-r", scene_address(p->bob), "-r", scene_address(carol), large,
                     NULL);
    TEST_AWAIT(mail_states_are(p->alice, "delivered,delivered,delivered,delivered"));
    json_t *rows = scene_ctl_json(p->alice, "outbox", NULL);
    g_assert_cmpstr(mail_fact(json_array_get(rows, 0), "id"), ==, mail_fact(json_array_get(rows, 1), "id"));
    g_assert_cmpstr(mail_fact(json_array_get(rows, 0), "id"), !=, mail_fact(json_array_get(rows, 2), "id"));
    json_decref(rows);

    for (size_t i = 0; i < G_N_ELEMENTS(both); i++) {
        g_autofree char *folder = g_strdup_printf("%s/got-%zu/", scene_folder(p->scene), i);
        g_autofree char *small_got = g_build_filename(folder, "small.bin", NULL);
        g_autofree char *large_got = g_build_filename(folder, "large.bin", NULL);

        g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
        TEST_AWAIT(mail_count(both[i], "new") == 2);
        rows = scene_ctl_json(both[i], "inbox", NULL);
        for (size_t k = 0; k < 2; k++) {
            const json_t *row = json_array_get(rows, k);

            g_assert_true(g_str_has_prefix(scene_address(p->alice), mail_fact(row, "sender")));
            g_assert_true(json_is_true(json_object_get(row, "verified")));
            g_assert_true(json_is_false(json_object_get(row, "trusted")));
            scene_ctl_expect(both[i], 0, "read", mail_fact(row, "id"), "-o", folder, NULL);
        }
        mail_files_equal(file, small_got);
        mail_files_equal(large, large_got);
        json_t *info = scene_ctl_json(both[i], "read", mail_fact(json_array_get(rows, 0), "id"), NULL);
        json_t *other = scene_ctl_json(both[i], "read", mail_fact(json_array_get(rows, 0), "id"), NULL);
        g_assert_true(json_equal(info, other));
        json_decref(other);
        json_decref(info);
        json_decref(rows);
    }
}

static void test_subject(MailPair *p, gconstpointer data)
{
    scene_ctl_expect(p->alice, 0, "send", "-r", scene_address(p->bob), "--subject", SUBJECT, NULL);
    g_autofree char *text = mail_await(p->bob, 1);
    g_assert_cmpstr(text, ==, "");
    g_auto(GStrv) ids = mail_ids(p->bob);
    json_t *info = scene_ctl_json(p->bob, "read", ids[0], NULL);

    g_assert_cmpstr(mail_fact(info, "subject"), ==, SUBJECT);
    g_assert_cmpstr(mail_fact(info, "id"), ==, ids[0]);
    g_assert_true(json_is_true(json_object_get(info, "verified")));
    g_assert_true(json_is_false(json_object_get(info, "replayed")));
    g_assert_true(json_is_false(json_object_get(info, "expired")));
    json_decref(info);
}

/* In the outbox, for want of a relay; at the relay, for want of Bob. */
static void test_expires(MailPair *p, gconstpointer data)
{
    scene_agent_stop(p->bob);
    scene_ctl_expect(p->alice, 0, "contact", "add", scene_address(p->bob), NULL);
    scene_ctl_expect(p->alice, 0, "send", "--expires", "2s", "-r", scene_address(p->bob), NULL);
    gint64 end = g_get_real_time() + (EXPIRES_SECONDS + 1) * G_USEC_PER_SEC;
    /* on a slow machine it has expired before */
    TEST_AWAIT(!mail_states_are(p->alice, "queued"));
    TEST_AWAIT(g_get_real_time() > end);
    scene_relay_stop(p->scene);
    scene_relay_start(p->scene); /* it sweeps when it starts */
    TEST_AWAIT(mail_relay_holds(p->scene, 0, 0));
    TEST_AWAIT(mail_states_are(p->alice, "expired"));

    scene_relay_stop(p->scene);
    scene_ctl_expect(p->alice, 0, "send", "--expires", "1s", "-r", scene_address(p->bob), NULL);
    TEST_AWAIT(mail_states_are(p->alice, "expired,expired"));
    scene_relay_start(p->scene);
    scene_agent_start(p->bob);
    g_autofree char *id = mail_send(p->alice, scene_address(p->bob), "alive");
    g_autofree char *text = mail_await(p->bob, 1);
    g_assert_cmpstr(text, ==, "alive");
    g_assert_cmpuint(mail_count(p->bob, NULL), ==, 1);

    scene_ctl_expect(p->alice, 2, "send", "--expires", "31d", "-r", scene_address(p->bob), NULL);
    scene_ctl_expect(p->alice, 2, "send", "--expires", "0", "-r", scene_address(p->bob), NULL);
}

static void test_delete(MailPair *p, gconstpointer data)
{
    g_autofree char *id = mail_send(p->alice, scene_address(p->bob), TEXT);
    g_autofree char *text = mail_await(p->bob, 1);
    g_auto(GStrv) ids = mail_ids(p->bob);

    scene_ctl_expect(p->bob, 0, "delete", "--yes", ids[0], NULL);
    g_assert_cmpuint(mail_count(p->bob, NULL), ==, 0);
    scene_ctl_expect(p->bob, 4, "read", ids[0], NULL);
    scene_ctl_expect(p->bob, 4, "delete", "--yes", ids[0], NULL);
    TEST_AWAIT(mail_states_are(p->alice, "delivered"));
    scene_ctl_expect(p->alice, 1, "outbox", "cancel", id, NULL);
    scene_ctl_expect(p->alice, 0, "delete", "--yes", id, NULL);
    g_assert_true(mail_states_are(p->alice, ""));
    scene_ctl_expect(p->alice, 4, "delete", "--yes", id, NULL);
    scene_ctl_expect(p->alice, 4, "outbox", "cancel", id, NULL);
    scene_ctl_expect(p->alice, 4, "outbox", "retry", id, NULL);
    scene_ctl_expect(p->alice, 0, "outbox", "retry", NULL);
}

/* What no relay has can be taken back. */
static void test_cancel(MailPair *p, gconstpointer data)
{
    scene_ctl_expect(p->alice, 0, "contact", "add", scene_address(p->bob), NULL);
    scene_relay_stop(p->scene);
    g_autofree char *taken_back = mail_send(p->alice, scene_address(p->bob), "a rash word");
    g_autofree char *kept = mail_send(p->alice, scene_address(p->bob), "a word");
    scene_ctl_expect(p->alice, 2, "delete", "--yes", kept, NULL);
    scene_ctl_expect(p->alice, 0, "outbox", "cancel", taken_back, NULL);
    g_assert_true(mail_states_are(p->alice, "queued"));
    scene_relay_start(p->scene);
    scene_ctl_expect(p->alice, 0, "outbox", "retry", kept, NULL);
    g_autofree char *text = mail_await(p->bob, 1);
    g_assert_cmpstr(text, ==, "a word");
    TEST_AWAIT(mail_states_are(p->alice, "delivered"));
    g_assert_cmpuint(mail_count(p->bob, NULL), ==, 1);
}

/* The fact that status gives of the only relay; to be freed. */
static char *relay_fault(SceneUser *u)
{
    json_t *status = scene_ctl_json(u, "status", NULL);
    json_t *relay = json_array_get(json_object_get(status, "relays"), 0);
    char *fault = g_strdup(mail_fact(relay, "error"));

    json_decref(status);
    return fault;
}

static bool fault_tells(SceneUser *u, const char *what)
{
    g_autofree char *fault = relay_fault(u);

    return *what ? strstr(fault, what) != NULL : !*fault;
}

/* A message that the disk does not take stays at the relay, and its owner is told why. */
static void test_no_place(MailPair *p, gconstpointer data)
{
    const char *home = g_environ_getenv((char **)(uintptr_t)scene_environment(p->bob), "XDG_DATA_HOME");
    g_autofree char *folder = g_build_filename(home, "hmsg", "mail", NULL);

    /* the agent has it open: nothing can be made in a folder that is no more */
    g_assert_cmpint(rmdir(folder), ==, 0);
    g_autofree char *id = mail_send(p->alice, scene_address(p->bob), TEXT);
    TEST_AWAIT(fault_tells(p->bob, "could not be fetched"));
    g_assert_true(mail_relay_holds(p->scene, 1, 0));
    g_autofree char *checks = NULL;
    (void)scene_ctl(p->bob, NULL, &checks, NULL, "doctor", NULL);
    g_assert_nonnull(strstr(checks, "could not be fetched"));

    scene_agent_stop(p->bob);
    scene_agent_start(p->bob);
    g_autofree char *text = mail_await(p->bob, 1);
    g_assert_cmpstr(text, ==, TEXT);
    TEST_AWAIT(fault_tells(p->bob, ""));
}

/* The mailbox goes with all that waits in it. */
static void test_unregister(MailPair *p, gconstpointer data)
{
    scene_agent_stop(p->bob);
    g_autofree char *id = mail_send(p->alice, scene_address(p->bob), TEXT);
    TEST_AWAIT(mail_states_are(p->alice, "accepted"));
    scene_agent_start(p->bob);
    scene_ctl_expect(p->bob, 0, "register", "--remove", scene_address(p->bob), NULL);
    TEST_AWAIT(mail_relay_holds(p->scene, 0, 0));
    scene_ctl_expect(p->bob, 4, "register", "--remove", scene_address(p->bob), NULL);
    json_t *rows = scene_ctl_json(p->bob, "register", "--list", NULL);
    g_assert_cmpuint(json_array_size(rows), ==, 0);
    json_decref(rows);
    /* nobody can write there any more */
    scene_ctl_expect(p->alice, 4, "send", "-r", scene_address(p->bob), NULL);
    /* the same keys may come back */
    scene_ctl_expect(p->bob, 0, "register", scene_address(p->bob), NULL);
    g_autofree char *again = mail_send(p->alice, scene_address(p->bob), "again");
    TEST_AWAIT(mail_has(p->bob, "again"));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(MailPair *, gconstpointer);
    } tests[] = {
        {"/mail/offline", test_offline},   {"/mail/online", test_online},
        {"/mail/many", test_many},         {"/mail/recipients", test_recipients},
        {"/mail/subject", test_subject},   {"/mail/expires", test_expires},
        {"/mail/delete", test_delete},     {"/mail/cancel", test_cancel},
        {"/mail/no-place", test_no_place}, {"/mail/unregister", test_unregister},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, MailPair, NULL, set_up, tests[i].test, mail_pair_close);
    return g_test_run();
}
