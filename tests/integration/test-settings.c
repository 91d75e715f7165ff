/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Bob blocks Alice, allows her, and says how long his messages wait: his relay does it, without him. */

#include <string.h>

#include "tests/integration/mail.h"

static void set_up(MailPair *p, gconstpointer data)
{
    mail_pair_open(p);
    mail_relay_configure(p, "[limits]\nmailbox-messages = 4\n"); /* one of strangers */
    scene_ctl_expect(p->alice, 0, "identity", "create", NULL);
    scene_user_register(p->bob);
}

static json_int_t lifetime(MailPair *p)
{
    json_t *record = scene_ctl_json(p->bob, "mailbox", "lifetime", NULL);
    json_int_t seconds = json_integer_value(json_object_get(record, "lifetime"));

    json_decref(record);
    return seconds;
}

#define RULES "SELECT group_concat(allowed) FROM senders"

/* What became of the message that alice has sent last. */
static bool last_is(MailPair *p, const char *state, const char *error)
{
    json_t *all = scene_ctl_json(p->alice, "outbox", NULL);
    const json_t *last = json_array_get(all, json_array_size(all) - 1);
    bool is = strcmp(mail_fact(last, "state"), state) == 0 && strstr(mail_fact(last, "error"), error);

    json_decref(all);
    return is;
}

static void test_rules(MailPair *p, gconstpointer data)
{
    g_autofree char *sender = NULL;
    json_t *contacts;

    g_free(mail_send(p->alice, scene_address(p->bob), "first"));
    g_free(mail_await(p->bob, 1));
    contacts = scene_ctl_json(p->bob, "contact", "list", NULL);
    sender = g_strdup(mail_fact(json_array_get(contacts, 0), "kid"));
    json_decref(contacts);
    scene_ctl_expect(p->bob, 0, "contact", "block", sender, NULL);
    TEST_AWAIT(mail_relay_has(p, RULES, "0"));
    scene_agent_stop(p->bob);
    g_free(mail_send(p->alice, scene_address(p->bob), "refused"));
    TEST_AWAIT(last_is(p, "failed", "takes nothing from this sender"));
    scene_agent_start(p->bob);
    scene_ctl_expect(p->bob, 0, "contact", "allow", sender, NULL);
    TEST_AWAIT(mail_relay_has(p, RULES, "1"));
    contacts = scene_ctl_json(p->bob, "contact", "list", NULL);
    g_assert_true(json_is_true(json_object_get(json_array_get(contacts, 0), "allowed")));
    json_decref(contacts);
    /* more than strangers may leave */
    scene_agent_stop(p->bob);
    g_free(mail_send(p->alice, scene_address(p->bob), "second"));
    g_free(mail_send(p->alice, scene_address(p->bob), "third"));
    TEST_AWAIT(mail_states_are(p->alice, "delivered,failed,accepted,accepted"));
    scene_agent_start(p->bob);
    g_free(mail_await(p->bob, 3));
}

/* The relay is told what was said while it was away. */
static void test_lifetime(MailPair *p, gconstpointer data)
{
    g_assert_cmpint(lifetime(p), ==, 0);
    scene_relay_stop(p->scene);
    scene_ctl_expect(p->bob, 0, "mailbox", "lifetime", "2h", scene_address(p->bob), NULL);
    g_assert_cmpint(lifetime(p), ==, 7200);
    scene_relay_start(p->scene);
    TEST_AWAIT(mail_relay_has(p, "SELECT lifetime FROM settings", "7200"));
    scene_agent_stop(p->bob);
    g_free(mail_send(p->alice, scene_address(p->bob), "short"));
    TEST_AWAIT(mail_states_are(p->alice, "accepted"));
    g_assert_true(mail_relay_has(p, "SELECT expires - accepted FROM messages", "7200"));
    scene_agent_start(p->bob);
    g_free(mail_await(p->bob, 1));
    scene_ctl_expect(p->bob, 0, "mailbox", "lifetime", "default", NULL);
    TEST_AWAIT(mail_relay_has(p, "SELECT lifetime FROM settings", "0"));
    scene_ctl_expect(p->bob, 2, "mailbox", "lifetime", "59min", NULL);
    scene_ctl_expect(p->bob, 2, "mailbox", "lifetime", "31d", NULL);
    scene_ctl_expect(p->alice, 4, "mailbox", "lifetime", "1d", NULL); /* she has none */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add("/settings/" name, MailPair, NULL, set_up, test, mail_pair_close)
    ADD("rules", test_rules);
    ADD("lifetime", test_lifetime);
    return g_test_run();
}
