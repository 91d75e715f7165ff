/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mail that was encrypted to a key of before a rotation can be read when that key is gone, with the new one
 * alone, and whoever is killed on the way loses none. */

#include <glib/gstdio.h>
#include <string.h>

#include "tests/integration/mail.h"

#define KILLS 12u
#define LETTERS 6u
#define LARGE_SIZE (3u << 20)

typedef struct Mails {
    MailPair pair;
    char *alice, *bob; /* addresses without pin */
} Mails;

static char *without_pin(const char *address)
{
    return g_strndup(address, strcspn(address, "#"));
}

/* So that a key whose time had come before a start need not wait for the clock to be believed. */
static void hurry(const Scene *s, SceneUser *u, const char *name)
{
    g_autofree char *folder = g_build_filename(scene_folder(s), name, "config", "hmsg", NULL);
    g_autofree char *config = g_build_filename(folder, "agent.conf", NULL);

    scene_agent_stop(u);
    g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
    g_assert_true(g_file_set_contents(config, "[keys]\npatience = 0\n", -1, NULL));
    scene_agent_start(u);
}

static void set_up(Mails *f, gconstpointer data)
{
    mail_pair_open(&f->pair);
    scene_user_register(f->pair.alice);
    scene_user_register(f->pair.bob);
    hurry(f->pair.scene, f->pair.bob, "bob");
    f->alice = without_pin(scene_address(f->pair.alice));
    f->bob = without_pin(scene_address(f->pair.bob));
}

static void tear_down(Mails *f, gconstpointer data)
{
    mail_pair_close(&f->pair, NULL);
    g_free(f->alice);
    g_free(f->bob);
}

static json_int_t former(SceneUser *u)
{
    json_t *facts = scene_ctl_json(u, "identity", "show", NULL);
    json_int_t n = json_integer_value(json_object_get(facts, "former"));

    json_decref(facts);
    return n;
}

static void rotate_for_good(SceneUser *u)
{
    scene_ctl_expect(u, 0, "identity", "rotate", "--grace", "0", NULL);
}

/* hmsgctl read --json names the sender and says that it was checked. */
static void expect_from(SceneUser *u, const char *id, const char *sender)
{
    json_t *facts = scene_ctl_json(u, "read", "-o", "/dev/null", id, NULL);

    g_assert_cmpstr(mail_fact(facts, "sender"), ==, sender);
    g_assert_true(json_is_true(json_object_get(facts, "verified")));
    json_decref(facts);
}

/* A package and a stream, read before and not; through two rotations that leave no former key, and a restart.
 */
static void test_readable(Mails *f, gconstpointer data)
{
    SceneUser *alice = f->pair.alice, *bob = f->pair.bob;
    g_autofree char *first = mail_send(alice, f->bob, "read before");
    g_autofree char *text = mail_await(bob, 1);
    g_autofree char *second = mail_send(alice, f->bob, "not read before");
    g_autofree char *large = mail_file(f->pair.scene, "large", LARGE_SIZE);
    g_autofree char *got = scene_path(f->pair.scene, "got");

    scene_ctl_expect(alice, 0, "send", "-r", f->bob, large, NULL);
    TEST_AWAIT(mail_count(bob, NULL) == 3);
    for (unsigned i = 0; i < 2; i++) {
        rotate_for_good(bob);
        TEST_AWAIT(former(bob) == 0);
        scene_agent_stop(bob);
        scene_agent_start(bob);
    }
    g_assert_cmpuint(mail_count(bob, "read"), ==, 1);
    g_auto(GStrv) ids = mail_ids(bob);
    g_assert_cmpuint(g_strv_length(ids), ==, 3);
    for (unsigned i = 0; i < 3; i++)
        expect_from(bob, ids[i], f->alice);
    g_assert_true(mail_has(bob, "read before"));
    g_assert_true(mail_has(bob, "not read before"));
    scene_ctl_expect(bob, 0, "read", "-o", got, ids[2], NULL);
    mail_files_equal(large, got);
    /* whom she is taken for is judged when it is read */
    scene_ctl_expect(bob, 0, "contact", "block", f->alice, NULL);
    scene_ctl_expect(bob, 8, "read", ids[0], NULL);
}

/* What was left to do when the agent ended is done at its next start, with no relay to be reached. */
static void test_alone(Mails *f, gconstpointer data)
{
    SceneUser *alice = f->pair.alice, *bob = f->pair.bob;
    g_autofree char *id = mail_send(alice, f->bob, "before");
    g_autofree char *text = mail_await(bob, 1);

    scene_relay_stop(f->pair.scene);
    scene_ctl_expect(bob, 0, "identity", "rotate", "--grace", "0", NULL);
    scene_agent_kill(bob);
    scene_agent_start(bob);
    TEST_AWAIT(former(bob) == 0);
    g_assert_true(mail_has(bob, "before"));
}

/* A former key stays for what nobody could look at, and goes with it. */
static void test_deleted(Mails *f, gconstpointer data)
{
    SceneUser *alice = f->pair.alice, *bob = f->pair.bob;
    g_autofree char *first = mail_send(alice, f->bob, "gone soon");
    g_autofree char *text = mail_await(bob, 1);
    g_auto(GStrv) ids = mail_ids(bob);

    scene_ctl_expect(bob, 0, "identity", "rotate", NULL);
    g_assert_cmpint(former(bob), ==, 1);
    scene_ctl_expect(bob, 0, "delete", "--yes", ids[0], NULL);
    rotate_for_good(bob);
    TEST_AWAIT(former(bob) == 0);
    g_assert_cmpuint(mail_count(bob, NULL), ==, 0);
}

static char *data_folder(const Mails *f)
{
    return g_build_filename(scene_folder(f->pair.scene), "bob", "data", "hmsg", NULL);
}

/* A backup of before, brought back into the same TPM, opens nothing any more: neither the store nor a
 * message.
 */
static void test_backup(Mails *f, gconstpointer data)
{
    SceneUser *alice = f->pair.alice, *bob = f->pair.bob;
    g_autofree char *folder = data_folder(f), *backup = scene_path(f->pair.scene, "backup");
    g_autofree char *first = mail_send(alice, f->bob, "for a while");
    g_autofree char *text = mail_await(bob, 1);
    g_auto(GStrv) ids = mail_ids(bob);

    scene_agent_stop(bob);
    test_folder_copy(folder, backup);
    scene_agent_start(bob);
    rotate_for_good(bob);
    TEST_AWAIT(former(bob) == 0);
    g_autofree char *again = mail_read(bob, ids[0]);
    g_assert_cmpstr(again, ==, text);

    g_autofree char *later = scene_path(f->pair.scene, "later");
    scene_agent_stop(bob);
    g_assert_cmpint(g_rename(folder, later), ==, 0);
    test_folder_copy(backup, folder);
    scene_agent_start(bob);
    scene_ctl_expect(bob, 6, "read", ids[0], NULL);
}

/* Killed at any moment after a rotation, again and again. */
static void test_killed(Mails *f, gconstpointer data)
{
    SceneUser *alice = f->pair.alice, *bob = f->pair.bob;

    for (unsigned i = 0; i < LETTERS; i++) {
        g_autofree char *text = g_strdup_printf("letter %u", i);
        g_autofree char *id = mail_send(alice, f->bob, text);
    }
    TEST_AWAIT(mail_count(bob, NULL) == LETTERS);
    for (unsigned i = 0; i < KILLS; i++) {
        scene_ctl_expect(bob, 0, "identity", "rotate", "--grace", "0", NULL);
        g_usleep(i * i * 3000);
        scene_agent_kill(bob);
        scene_agent_start(bob);
        g_assert_cmpuint(mail_count(bob, NULL), ==, LETTERS);
    }
    TEST_AWAIT(former(bob) == 0);
    for (unsigned i = 0; i < LETTERS; i++) {
        g_autofree char *text = g_strdup_printf("letter %u", i);

        g_assert_true(mail_has(bob, text));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add("/keep/" name, Mails, NULL, set_up, test, tear_down)
    ADD("readable", test_readable);
    ADD("alone", test_alone);
    ADD("deleted", test_deleted);
    ADD("backup", test_backup);
    ADD("killed", test_killed);
    return g_test_run();
}
