/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Processes are killed at any time: what was accepted arrives, once. */

#include <signal.h>
#include <string.h>

#include "tests/integration/mail.h"
#include "tests/integration/proc.h"

#define ROUNDS 16
#define COURIERS 6 /* the pause before the next doubles */
#define LARGE_SIZE (2 * 1024 * 1024)

static void set_up(MailPair *p, gconstpointer data)
{
    mail_pair_open(p);
    scene_user_register(p->alice);
    scene_user_register(p->bob);
    scene_ctl_expect(p->alice, 0, "contact", "add", scene_address(p->bob), NULL);
}

static size_t count_states(SceneUser *u, const char *state)
{
    g_autofree char *states = mail_states(u);
    g_auto(GStrv) all = g_strsplit(states, ",", -1);
    size_t n = 0;

    for (size_t i = 0; all[i]; i++)
        n += strcmp(all[i], state) == 0;
    return n;
}

static json_int_t relay_messages(const Scene *s)
{
    json_t *facts = scene_relay_check(s);
    json_int_t n = json_integer_value(json_object_get(facts, "messages"));

    json_decref(facts);
    return n;
}

static void send_number(MailPair *p, size_t number)
{
    g_autofree char *text = g_strdup_printf("number %zu", number);
    g_autofree char *id = mail_send(p->alice, scene_address(p->bob), text);
}

/* The numbers below n arrive, each once, and nothing is left behind. */
static void check_numbers(MailPair *p, size_t n)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    TEST_AWAIT(mail_count(p->bob, NULL) >= n);
    TEST_AWAIT(count_states(p->alice, "delivered") == n);
    TEST_AWAIT(mail_relay_holds(p->scene, 0, 0));
    g_assert_cmpuint(mail_count(p->bob, NULL), ==, n);
    g_auto(GStrv) ids = mail_ids(p->bob);
    g_assert_cmpuint(g_strv_length(ids), ==, n);
    for (size_t i = 0; i < n; i++)
        g_assert_true(g_hash_table_add(seen, mail_read(p->bob, ids[i])));
    for (size_t i = 0; i < n; i++) {
        g_autofree char *text = g_strdup_printf("number %zu", i);

        g_assert_true(g_hash_table_contains(seen, text));
    }
}

/* The relay dies while messages are being submitted and others wait. */
static void test_relay_submitting(MailPair *p, gconstpointer data)
{
    scene_agent_stop(p->bob);
    for (size_t i = 0; i < ROUNDS; i++) {
        send_number(p, 2 * i);
        send_number(p, 2 * i + 1);
        if (i % 2 == 0)
            TEST_AWAIT(count_states(p->alice, "accepted") > 0);
        scene_relay_kill(p->scene);
        /* whatever it has said it has */
        json_int_t accepted = (json_int_t)count_states(p->alice, "accepted");
        scene_relay_start(p->scene);
        g_assert_cmpint(relay_messages(p->scene), >=, accepted);
        scene_ctl_expect(p->alice, 0, "outbox", "retry", NULL);
    }
    TEST_AWAIT(count_states(p->alice, "accepted") == 2 * ROUNDS);
    g_assert_cmpint(relay_messages(p->scene), ==, 2 * ROUNDS);
    scene_relay_kill(p->scene);
    scene_relay_start(p->scene);
    scene_agent_start(p->bob);
    check_numbers(p, 2 * ROUNDS);
}

/* The relay dies while Bob fetches and acknowledges. */
static void test_relay_fetching(MailPair *p, gconstpointer data)
{
    for (size_t i = 0; i < ROUNDS; i++) {
        send_number(p, i);
        if (i % 3 == 0)
            TEST_AWAIT(mail_count(p->bob, NULL) > i / 2);
        scene_relay_kill(p->scene);
        scene_relay_start(p->scene);
        scene_ctl_expect(p->alice, 0, "outbox", "retry", NULL);
        (void)scene_ctl(p->bob, NULL, NULL, NULL, "inbox", "--sync", NULL);
    }
    check_numbers(p, ROUNDS);
}

static void test_recipient(MailPair *p, gconstpointer data)
{
    g_autofree char *large = mail_file(p->scene, "large.bin", LARGE_SIZE);
    g_autofree char *got = scene_path(p->scene, "got.bin");

    scene_agent_stop(p->bob);
    scene_ctl_expect(p->alice, 0, "send", "-r", scene_address(p->bob), large, NULL);
    TEST_AWAIT(count_states(p->alice, "accepted") == 1);
    for (size_t i = 0; i < ROUNDS; i++)
        send_number(p, i);
    TEST_AWAIT(count_states(p->alice, "accepted") == ROUNDS + 1);
    for (size_t i = 0; i < ROUNDS / 2; i++) {
        scene_agent_start(p->bob);
        if (i % 2 == 1)
            TEST_AWAIT(mail_count(p->bob, NULL) >= i);
        scene_agent_kill(p->bob);
    }
    scene_agent_start(p->bob);
    TEST_AWAIT(count_states(p->alice, "delivered") == ROUNDS + 1);
    TEST_AWAIT(mail_count(p->bob, NULL) == ROUNDS + 1);
    TEST_AWAIT(mail_relay_holds(p->scene, 0, 0));
    json_t *rows = scene_ctl_json(p->bob, "inbox", NULL);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *id = json_string_value(json_object_get(row, "id"));

        g_assert_cmpstr(json_string_value(json_object_get(row, "state")), ==, "new");
        if (json_integer_value(json_object_get(row, "size")) < LARGE_SIZE)
            continue;
        scene_ctl_expect(p->bob, 0, "read", id, "-o", got, NULL);
        scene_ctl_expect(p->bob, 0, "delete", "--yes", id, NULL);
    }
    json_decref(rows);
    mail_files_equal(large, got);
    scene_ctl_expect(p->alice, 0, "outbox", "retry", NULL);
    g_assert_cmpuint(mail_count(p->bob, NULL), ==, ROUNDS);
}

static void test_sender(MailPair *p, gconstpointer data)
{
    g_autofree char *large = mail_file(p->scene, "large.bin", LARGE_SIZE);

    scene_relay_stop(p->scene);
    for (size_t i = 0; i < ROUNDS; i++) {
        send_number(p, i);
        if (i % 5 == 0) {
            scene_agent_kill(p->alice);
            scene_agent_start(p->alice);
        }
    }
    scene_agent_kill(p->alice);
    scene_agent_start(p->alice);
    g_assert_cmpuint(count_states(p->alice, "queued"), ==, ROUNDS);
    scene_relay_start(p->scene);
    for (size_t i = 0; i < ROUNDS / 2; i++) {
        size_t before = count_states(p->alice, "queued");

        if (before > 0)
            TEST_AWAIT(count_states(p->alice, "queued") < before);
        scene_agent_kill(p->alice);
        scene_agent_start(p->alice);
    }
    check_numbers(p, ROUNDS);
}

/* A courier dies, in the middle of work or of nothing: another takes its place. */
static void test_courier(MailPair *p, gconstpointer data)
{
    SceneUser *const both[] = {p->alice, p->bob};

    for (size_t i = 0; i < COURIERS; i++) {
        SceneUser *u = both[i % 2];
        int courier;

        TEST_AWAIT((courier = proc_find(scene_agent_pid(u), "hmsg-courier")) > 0);
        send_number(p, i);
        g_assert_cmpint(kill(courier, SIGKILL), ==, 0);
        TEST_AWAIT(proc_find(scene_agent_pid(u), "hmsg-courier") > 0 &&
                   proc_find(scene_agent_pid(u), "hmsg-courier") != courier);
    }
    check_numbers(p, COURIERS);
}

/* Nothing has to be asked for. */
static void test_relay_away(MailPair *p, gconstpointer data)
{
    scene_relay_stop(p->scene);
    send_number(p, 0);
    send_number(p, 1);
    g_assert_true(mail_states_are(p->alice, "queued,queued"));
    json_t *rows = scene_ctl_json(p->alice, "outbox", NULL);
    g_assert_true(json_is_string(json_object_get(json_array_get(rows, 0), "error")));
    json_decref(rows);
    /* who is not known cannot be written to without a relay */
    g_autofree char *stranger = g_strconcat("carol", strchr(scene_address(p->bob), '@'), NULL);
    scene_ctl_expect(p->alice, 7, "send", "-r", stranger, NULL);
    scene_ctl_expect(p->alice, 7, "inbox", "--sync", NULL);
    scene_relay_start(p->scene);
    check_numbers(p, 2);
    scene_ctl_expect(p->alice, 4, "send", "-r", stranger, NULL);
}

/* It hangs: connections stay, nothing comes. */
static void test_relay_frozen(MailPair *p, gconstpointer data)
{
    scene_relay_signal(p->scene, SIGSTOP);
    send_number(p, 0);
    send_number(p, 1);
    g_assert_true(mail_states_are(p->alice, "queued,queued"));
    /* everything else goes on */
    scene_ctl_expect(p->alice, 0, "status", NULL);
    scene_ctl_expect(p->alice, 0, "encrypt", "-r", scene_address(p->bob), NULL);
    scene_relay_signal(p->scene, SIGCONT);
    check_numbers(p, 2);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(MailPair *, gconstpointer);
    } tests[] = {
        {"/loss/relay/submitting", test_relay_submitting},
        {"/loss/relay/fetching", test_relay_fetching},
        {"/loss/relay/away", test_relay_away},
        {"/loss/relay/frozen", test_relay_frozen},
        {"/loss/recipient", test_recipient},
        {"/loss/sender", test_sender},
        {"/loss/courier", test_courier},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, MailPair, NULL, set_up, tests[i].test, mail_pair_close);
    return g_test_run();
}
