/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The courier's program is replaced by a thief's, of a user who is registered and has mail to send. The thief
 * learns what the real courier would have learned, no message gets lost, and the real one delivers it later.
 */

#include <string.h>
#include <unistd.h>

#include "tests/integration/mail.h"

#define TEXT "which no courier is to see"

typedef struct Thief {
    MailPair pair;
    char *folder, *program;
} Thief;

static void set_up(Thief *t, gconstpointer kind)
{
    mail_pair_open(&t->pair);
    scene_user_register(t->pair.alice);
    scene_user_register(t->pair.bob);
    scene_ctl_expect(t->pair.alice, 0, "contact", "add", scene_address(t->pair.bob), NULL);
    t->folder = test_folder_new();
    t->program = g_build_filename(t->folder, kind, NULL);
    g_assert_cmpint(symlink(g_getenv("HMSG_TEST_EVIL_COURIER"), t->program), ==, 0);
}

static void tear_down(Thief *t, gconstpointer kind)
{
    mail_pair_close(&t->pair, NULL);
    g_free(t->program);
    test_folder_remove(t->folder);
}

static char *told(const Thief *t)
{
    g_autofree char *path = g_build_filename(t->folder, "told", NULL);

    return mail_log(path);
}

static bool was_told(const Thief *t, const char *what)
{
    g_autofree char *text = told(t);

    return strstr(text, what);
}

static void restart_with(SceneUser *u, const char *courier)
{
    scene_agent_stop(u);
    scene_user_courier(u, courier);
    scene_agent_start(u);
}

static void test_replaced(Thief *t, gconstpointer kind)
{
    SceneUser *alice = t->pair.alice, *bob = t->pair.bob;

    scene_relay_stop(t->pair.scene);
    g_autofree char *id = mail_send(alice, scene_address(bob), TEXT);
    restart_with(alice, t->program);
    scene_relay_start(t->pair.scene);
    TEST_AWAIT(was_told(t, "Nonce"));
    scene_ctl_expect(alice, 0, "outbox", "retry", NULL);
    if (strcmp(kind, "lying") == 0)
        TEST_AWAIT(was_told(t, "Login"));
    g_assert_true(mail_states_are(alice, "queued"));
    g_assert_false(was_told(t, "Submit"));
    g_assert_false(was_told(t, TEXT));

    restart_with(alice, NULL);
    TEST_AWAIT(mail_states_are(alice, "delivered"));
    g_autofree char *text = mail_await(bob, 1);
    g_assert_cmpstr(text, ==, TEXT);
}

/* Who is told of a message by a courier that does not have it gets none, and the message stays at the relay.
 */
static void test_recipient(Thief *t, gconstpointer kind)
{
    SceneUser *alice = t->pair.alice, *bob = t->pair.bob;

    restart_with(bob, t->program);
    g_autofree char *id = mail_send(alice, scene_address(bob), TEXT);
    TEST_AWAIT(mail_states_are(alice, "accepted"));
    TEST_AWAIT(was_told(t, "Nonce"));
    (void)scene_ctl(bob, NULL, NULL, NULL, "inbox", "--sync", NULL);
    g_assert_cmpuint(mail_count(bob, NULL), ==, 0);
    g_assert_false(was_told(t, "Acknowledge"));
    g_assert_true(mail_states_are(alice, "accepted"));

    restart_with(bob, NULL);
    g_autofree char *text = mail_await(bob, 1);
    g_assert_cmpstr(text, ==, TEXT);
    TEST_AWAIT(mail_states_are(alice, "delivered"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/stolen-courier/sender/lying", Thief, "lying", set_up, test_replaced, tear_down);
    g_test_add("/stolen-courier/sender/flooding", Thief, "flooding", set_up, test_replaced, tear_down);
    g_test_add("/stolen-courier/recipient/lying", Thief, "lying", set_up, test_recipient, tear_down);
    g_test_add("/stolen-courier/recipient/flooding", Thief, "flooding", set_up, test_recipient, tear_down);
    return g_test_run();
}
