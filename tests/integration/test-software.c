/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mail between Alice, whose keys are in a TPM, and Bob, whose keys are in software. */

#include <string.h>

#include "tests/integration/mail.h"
#include "tests/lib/process.h"

#define PASSWORD "correct horse battery staple"
#define TEXT "Dear Bob,\nhere are the plans.\n"

static void set_up(MailPair *p, gconstpointer data)
{
    mail_pair_open(p);
    scene_user_register(p->alice);
}

/* hmsgctl with the password on descriptor 3. */
static void with_password(MailPair *p, const char *words)
{
    g_autofree char *file = scene_path(p->scene, "password");
    g_autofree char *command =
        g_strdup_printf("exec '%s/cli/hmsgctl' %s --pin-fd 3 3<'%s'", g_getenv("HMSG_BUILD"), words, file);
    const char *const argv[] = {"sh", "-c", command, NULL};
    g_autofree char *err = NULL;

    g_assert_true(g_file_set_contents(file, PASSWORD "\n", -1, NULL));
    if (test_run(argv, scene_environment(p->bob), NULL, NULL, &err) != 0)
        g_error("hmsgctl %s: %s", words, err);
}

static void expect_info(SceneUser *u, const char *id, const char *ours, const char *theirs)
{
    json_t *info = scene_ctl_json(u, "read", id, NULL);

    g_assert_cmpstr(mail_fact(info, "protection"), ==, ours);
    g_assert_cmpstr(mail_fact(info, "sender_protection"), ==, theirs);
    json_decref(info);
}

static void exchange(MailPair *p, size_t n)
{
    g_autofree char *there = mail_send(p->alice, scene_address(p->bob), TEXT);
    g_autofree char *got = mail_await(p->bob, n);
    g_autofree char *back = mail_send(p->bob, scene_address(p->alice), "Thanks.");
    g_autofree char *thanks = mail_await(p->alice, n);

    g_assert_cmpstr(got, ==, TEXT);
    g_assert_cmpstr(thanks, ==, "Thanks.");
}

static void test_exchange(MailPair *p, gconstpointer data)
{
    with_password(p, "identity create --protection software");
    scene_ctl_expect(p->bob, 0, "register", scene_address(p->bob), NULL);
    exchange(p, 1);
    g_auto(GStrv) at_bob = mail_ids(p->bob);
    g_auto(GStrv) at_alice = mail_ids(p->alice);
    expect_info(p->bob, at_bob[0], "software", "tpm");
    expect_info(p->alice, at_alice[0], "tpm", "software");
    json_t *contact = scene_ctl_json(p->alice, "contact", "show", scene_address(p->bob), NULL);
    g_assert_cmpstr(mail_fact(contact, "protection"), ==, "software");
    json_decref(contact);

    /* mail that comes while he is locked, and after he has rotated */
    scene_agent_stop(p->bob);
    scene_agent_start(p->bob);
    scene_ctl_expect(p->bob, 3, "identity", "rotate", "--no-ask", NULL);
    g_autofree char *id = mail_send(p->alice, scene_address(p->bob), TEXT);
    TEST_AWAIT(mail_states_are(p->alice, "delivered,accepted"));
    with_password(p, "unlock"); /* until then he cannot log in */
    g_autofree char *late = mail_await(p->bob, 2);
    g_assert_cmpstr(late, ==, TEXT);
    scene_ctl_expect(p->bob, 0, "identity", "rotate", NULL);
    json_t *identity = scene_ctl_json(p->bob, "identity", "show", NULL);
    g_assert_cmpint(json_integer_value(json_object_get(identity, "generation")), ==, 2);
    g_assert_cmpstr(mail_fact(identity, "protection"), ==, "software");
    json_decref(identity);
    g_autofree char *again = mail_read(p->bob, at_bob[0]);
    g_assert_cmpstr(again, ==, TEXT);
    g_autofree char *third = mail_send(p->alice, scene_address(p->bob), TEXT);
    g_autofree char *last = mail_await(p->bob, 3);
    g_assert_cmpstr(last, ==, TEXT);
    g_autofree char *found = NULL, *exported = NULL;
    g_assert_cmpint(scene_ctl(p->bob, NULL, &found, NULL, "doctor", NULL), ==, 0);
    g_assert_nonnull(strstr(found, "in software"));
    g_assert_cmpint(scene_ctl(p->bob, NULL, &exported, NULL, "identity", "export", "--format", "pem", NULL),
                    ==, 0);
    g_assert_nonnull(strstr(exported, "-----BEGIN"));
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/software/exchange", MailPair, NULL, set_up, test_exchange, mail_pair_close);
    return g_test_run();
}
