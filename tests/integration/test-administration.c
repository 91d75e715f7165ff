/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who runs a relay says who may come, and whose mail is taken: hmsg-relay's commands, while it serves. */

#include <string.h>

#include "tests/integration/mail.h"

static char *config_path(const MailPair *p)
{
    g_autofree char *folder = scene_path(p->scene, "relay");
    return g_build_filename(folder, "relay.conf", NULL);
}

/* hmsg-relay first second third; what it prints, when the exit status is as expected. */
static char *administer(const MailPair *p, int expected, const char *first, const char *second,
                        const char *third)
{
    g_autofree char *relay = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
    g_autofree char *config = config_path(p);
    const char *argv[] = {relay, first, second, "--json", "--config", config, third, NULL};
    g_autofree char *err = NULL;
    char *out = NULL;

    g_assert_cmpint(test_run(argv, NULL, NULL, &out, &err), ==, expected);
    return out;
}

static char *bare_address(SceneUser *u)
{
    return g_strndup(scene_address(u), strcspn(scene_address(u), "#"));
}

static void ask_for_invitations(const MailPair *p)
{
    g_autofree char *config = config_path(p);
    g_autofree char *text = NULL, *both = NULL;

    g_assert_true(g_file_get_contents(config, &text, NULL, NULL));
    both = g_strconcat(text, "\n[registration]\nmode = invite\n", NULL);
    g_assert_true(g_file_set_contents(config, both, -1, NULL));
    scene_relay_stop(p->scene);
    scene_relay_start(p->scene);
}

static char *invitation(const MailPair *p)
{
    g_autofree char *out = administer(p, 0, "invite", "create", NULL);
    json_t *j = json_loads(out, 0, NULL);
    char *code = g_strdup(mail_fact(j, "code"));

    json_decref(j);
    g_assert_cmpuint(strlen(code), ==, 32);
    return code;
}

static int enter(SceneUser *u, const char *code, char **ret_err)
{
    g_autofree char *out = NULL;

    return code ? scene_ctl(u, code, &out, ret_err, "register", scene_address(u), "--invite-fd", "0", NULL)
                : scene_ctl(u, NULL, &out, ret_err, "register", scene_address(u), NULL);
}

static void expect_refused(SceneUser *u, const char *code)
{
    g_autofree char *err = NULL;

    g_assert_cmpint(enter(u, code, &err), !=, 0);
    g_assert_nonnull(strstr(err, "invitation"));
}

static void come_in(MailPair *p)
{
    g_autofree char *first = invitation(p), *second = invitation(p);
    g_autofree char *err = NULL, *more = NULL;

    expect_refused(p->alice, NULL);
    expect_refused(p->alice, "00000000000000000000000000000000");
    g_assert_cmpint(enter(p->alice, first, &err), ==, 0);
    expect_refused(p->bob, first);
    g_assert_cmpint(enter(p->bob, second, &more), ==, 0);
}

static void test_whole(MailPair *p, gconstpointer data)
{
    g_autofree char *bob = bare_address(p->bob);
    json_t *counts;

    scene_ctl_expect(p->alice, 0, "identity", "create", NULL);
    scene_ctl_expect(p->bob, 0, "identity", "create", NULL);
    ask_for_invitations(p);
    come_in(p);
    g_autofree char *none = administer(p, 0, "invite", "list", NULL);
    g_assert_cmpstr(none, ==, "");
    g_free(mail_send(p->alice, scene_address(p->bob), "first"));
    g_free(mail_await(p->bob, 1));
    TEST_AWAIT(mail_states_are(p->alice, "delivered"));

    g_free(administer(p, 0, "client", "block", bob));
    g_free(mail_send(p->alice, bob, "refused"));
    TEST_AWAIT(mail_states_are(p->alice, "delivered,failed"));
    g_free(administer(p, 0, "client", "unblock", bob));
    g_free(mail_send(p->alice, bob, "taken"));
    g_autofree char *last = mail_await(p->bob, 2);
    g_assert_cmpstr(last, ==, "taken");

    g_free(administer(p, 0, "client", "delete", bob));
    g_free(administer(p, 1, "client", "show", bob));
    g_autofree char *rows = administer(p, 0, "client", "list", NULL);
    g_assert_nonnull(strstr(rows, "alice@"));
    g_assert_null(strstr(rows, "bob@"));
    /* what was done is in the log, and not whom it was done to */
    g_autofree char *path = scene_path(p->scene, "relay.log");
    g_autofree char *log = mail_log(path);
    g_assert_nonnull(strstr(log, "client-block: done"));
    g_assert_nonnull(strstr(log, "client-delete: done"));
    g_assert_nonnull(strstr(log, "client-show: there is no such client"));
    g_assert_null(strstr(log, "bob@"));
    counts = scene_relay_check(p->scene);
    g_assert_cmpint(json_integer_value(json_object_get(counts, "mailboxes")), ==, 1);
    json_decref(counts);
}

static void set_up(MailPair *p, gconstpointer data)
{
    mail_pair_open(p);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/administration/whole", MailPair, NULL, set_up, test_whole, mail_pair_close);
    return g_test_run();
}
