/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Bob hands out a card, and Alice, who has no mailbox at his relay, sends by it where strangers may not. */

#include <string.h>
#include <sys/stat.h>

#include "tests/integration/mail.h"

/* Strangers may leave one message in all, so that it does not matter how fast this is. */
static void set_up(MailPair *p, gconstpointer data)
{
    mail_pair_open(p);
    mail_relay_configure(p, "[limits]\nmailbox-messages = 2\n");
    scene_ctl_expect(p->alice, 0, "identity", "create", NULL);
    scene_user_register(p->bob);
}

static json_int_t number_of(const json_t *record, const char *key)
{
    return json_integer_value(json_object_get(record, key));
}

/* How many messages may still come by the only one that there is. */
static json_int_t uses_left(MailPair *p)
{
    json_t *all = scene_ctl_json(p->bob, "contact", "capability", "list", NULL);
    json_int_t left;

    g_assert_cmpuint(json_array_size(all), ==, 1);
    g_assert_cmpstr(mail_fact(json_array_get(all, 0), "name"), ==, "Alice");
    left = number_of(json_array_get(all, 0), "uses");
    json_decref(all);
    return left;
}

/* What alice is told of the message that she sent last. */
static bool last_waits(MailPair *p)
{
    json_t *all = scene_ctl_json(p->alice, "outbox", NULL);
    const json_t *last = json_array_get(all, json_array_size(all) - 1);
    bool waits = strcmp(mail_fact(last, "state"), "queued") == 0 && *mail_fact(last, "error");

    json_decref(all);
    return waits;
}

/* What nobody can have got is taken back. */
static void expect_unwritten(MailPair *p, const char *words)
{
    g_autofree char *command =
        g_strdup_printf("exec '%s/cli/hmsgctl' contact capability create %s", g_getenv("HMSG_BUILD"), words);
    const char *const argv[] = {"sh", "-c", command, NULL};
    g_autofree char *err = NULL;
    json_t *all;

    g_assert_cmpint(test_run(argv, scene_environment(p->bob), NULL, NULL, &err), ==, 1);
    all = scene_ctl_json(p->bob, "contact", "capability", "list", NULL);
    g_assert_cmpuint(json_array_size(all), ==, 0);
    json_decref(all);
}

static void test_unwritten(MailPair *p, gconstpointer data)
{
    expect_unwritten(p, ">/dev/full");
    expect_unwritten(p, ">&-");
    expect_unwritten(p, "--json >/dev/full");
}

static void test_card(MailPair *p, gconstpointer data)
{
    g_autofree char *card = scene_path(p->scene, "card"), *text = NULL;
    struct stat st;
    json_t *record;
    json_int_t number;

    record = scene_ctl_json(p->bob, "contact", "capability", "create", scene_address(p->bob), "--uses", "3",
                            "--expires", "1d", "--name", "Alice", "-o", card, NULL);
    number = number_of(record, "number");
    g_assert_cmpint(number_of(record, "uses"), ==, 3);
    g_assert_null(json_object_get(record, "card"));
    json_decref(record);
    g_assert_cmpint(stat(card, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
    g_assert_true(g_file_get_contents(card, &text, NULL, NULL));
    g_assert_true(g_str_has_prefix(text, scene_address(p->bob)));
    g_assert_cmpint(uses_left(p), ==, 3);

    /* Bob is away, and his mailbox has room for one message of strangers. */
    scene_agent_stop(p->bob);
    g_free(mail_send(p->alice, scene_address(p->bob), "first"));
    TEST_AWAIT(mail_states_are(p->alice, "accepted"));
    g_free(mail_send(p->alice, scene_address(p->bob), "second"));
    TEST_AWAIT(last_waits(p));
    /* what waits goes by the card */
    record = scene_ctl_json(p->alice, "contact", "add", "--card", card, "--name", "bob", NULL);
    g_assert_true(json_is_true(json_object_get(record, "capability")));
    json_decref(record);
    scene_ctl_expect(p->alice, 0, "outbox", "retry", NULL);
    TEST_AWAIT(mail_states_are(p->alice, "accepted,accepted"));
    scene_agent_start(p->bob);
    g_free(mail_await(p->bob, 2));
    g_assert_cmpint(uses_left(p), ==, 2);
    TEST_AWAIT(mail_states_are(p->alice, "delivered,delivered"));
    g_free(mail_send(p->alice, "bob", "third"));
    g_free(mail_await(p->bob, 3));
    g_assert_cmpint(uses_left(p), ==, 1);

    g_autofree char *text_number = g_strdup_printf("%" JSON_INTEGER_FORMAT, number);
    scene_ctl_expect(p->bob, 0, "contact", "capability", "revoke", text_number, NULL);
    scene_ctl_expect(p->bob, 0, "contact", "capability", "revoke", text_number, NULL); /* as before */
    scene_ctl_expect(p->bob, 4, "contact", "capability", "revoke", "987654", NULL);
    json_t *all = scene_ctl_json(p->bob, "contact", "capability", "list", NULL);
    g_assert_cmpuint(json_array_size(all), ==, 0);
    json_decref(all);
    /* it has become worth nothing, and the next counts as a stranger's */
    g_free(mail_send(p->alice, "bob", "fourth"));
    g_free(mail_await(p->bob, 4));

    /* the code is in no log, and not in the relay's store */
    const char *code = strchr(g_strchomp(text), ' ') + 1;
    g_assert_cmpuint(strlen(code), ==, 43);
    static const char *const logs[] = {
        "relay.log",          "alice/agent.log",        "bob/agent.log",
        "relay/relay.sqlite", "relay/relay.sqlite-wal", "relay/data/relay.sqlite"};
    for (size_t i = 0; i < G_N_ELEMENTS(logs); i++) {
        g_autofree char *path = scene_path(p->scene, logs[i]), *log = NULL;
        size_t n = 0;

        if (g_file_get_contents(path, &log, &n, NULL))
            g_assert_null(memmem(log, n, code, 43));
    }
}

static void test_refused(MailPair *p, gconstpointer data)
{
    g_autofree char *card = scene_path(p->scene, "card");

    scene_ctl_expect(p->alice, 4, "contact", "capability", "create", NULL); /* no mailbox */
    scene_ctl_expect(p->bob, 4, "contact", "capability", "create", "eve@127.0.0.1:1", NULL);
    scene_ctl_expect(p->bob, 2, "contact", "capability", "create", "--uses", "0", NULL);
    scene_ctl_expect(p->bob, 2, "contact", "capability", "create", "--uses", "1000001", NULL);
    scene_ctl_expect(p->bob, 2, "contact", "capability", "create", "--expires", "367d", NULL);
    scene_ctl_expect(p->bob, 2, "contact", "capability", "give", NULL);
    scene_ctl_expect(p->bob, 2, "contact", "capability", "list", "--uses", "2", NULL);
    scene_ctl_expect(p->bob, 2, "contact", "capability", "revoke", NULL);
    g_assert_true(g_file_set_contents(card, "no card", -1, NULL));
    scene_ctl_expect(p->alice, 2, "contact", "add", "--card", card, NULL);
    g_autofree char *bad = g_strdup_printf("%s short\n", scene_address(p->bob));
    g_assert_true(g_file_set_contents(card, bad, -1, NULL));
    scene_ctl_expect(p->alice, 2, "contact", "add", "--card", card, NULL);
    g_assert_true(g_file_set_contents(card, scene_address(p->bob), -1, NULL)); /* an address alone is one */
    scene_ctl_expect(p->alice, 0, "contact", "add", "--card", card, NULL);
    json_t *record = scene_ctl_json(p->alice, "contact", "show", scene_address(p->bob), NULL);
    g_assert_true(json_is_false(json_object_get(record, "capability")));
    json_decref(record);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/capability/card", MailPair, NULL, set_up, test_card, mail_pair_close);
    g_test_add("/capability/unwritten", MailPair, NULL, set_up, test_unwritten, mail_pair_close);
    g_test_add("/capability/refused", MailPair, NULL, set_up, test_refused, mail_pair_close);
    return g_test_run();
}
