/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A relay that is set back to a copy of its store gives out again what was acknowledged. Agents that were
 * killed meanwhile know what they had. */

#include <signal.h>

#include "tests/integration/mail.h"

static void set_up(MailPair *p, gconstpointer data)
{
    mail_pair_open(p);
    scene_user_register(p->alice);
    scene_user_register(p->bob);
    scene_ctl_expect(p->alice, 0, "contact", "add", scene_address(p->bob), NULL);
}

/* delete: Bob has removed the message when it comes again. */
static void test_replay(MailPair *p, gconstpointer delete)
{
    g_autofree char *store = scene_path(p->scene, "relay");
    g_autofree char *old = scene_path(p->scene, "relay.old");
    const size_t left = delete ? 0 : 1;

    scene_agent_stop(p->bob);
    g_autofree char *id = mail_send(p->alice, scene_address(p->bob), "only once");
    TEST_AWAIT(mail_states_are(p->alice, "accepted"));
    scene_relay_stop(p->scene);
    test_folder_copy(store, old);
    scene_relay_start(p->scene);
    scene_agent_start(p->bob);
    g_autofree char *text = mail_await(p->bob, 1);
    g_assert_cmpstr(text, ==, "only once");
    TEST_AWAIT(mail_relay_holds(p->scene, 0, 0));
    g_auto(GStrv) ids = mail_ids(p->bob);
    if (delete)
        scene_ctl_expect(p->bob, 0, "delete", "--yes", ids[0], NULL);

    scene_agent_kill(p->bob);
    scene_relay_stop(p->scene);
    test_folder_copy(old, store);
    g_assert_true(mail_relay_holds(p->scene, 1, 0));
    scene_relay_start(p->scene);
    scene_agent_start(p->bob);
    TEST_AWAIT(mail_relay_holds(p->scene, 0, 0)); /* it is acknowledged, and not asked for again */
    g_assert_cmpuint(mail_count(p->bob, NULL), ==, left);

    /* and what is new arrives */
    g_autofree char *next = mail_send(p->alice, scene_address(p->bob), "something new");
    g_autofree char *second = mail_await(p->bob, left + 1);
    g_assert_cmpstr(second, ==, "something new");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/replay/kept", MailPair, NULL, set_up, test_replay, mail_pair_close);
    g_test_add("/replay/deleted", MailPair, "deleted", set_up, test_replay, mail_pair_close);
    return g_test_run();
}
