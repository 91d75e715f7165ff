/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys that change while people write to each other: nobody is warned, nothing is lost, and who is killed on
 * the way goes on where they were. */

#include <string.h>

#include "tests/integration/mail.h"

typedef struct Rotations {
    MailPair pair;
    char *alice, *bob; /* addresses without pin */
} Rotations;

static char *without_pin(const char *address)
{
    return g_strndup(address, strcspn(address, "#"));
}

static void set_up(Rotations *f, gconstpointer data)
{
    mail_pair_open(&f->pair);
    scene_user_register(f->pair.alice);
    scene_user_register(f->pair.bob);
    f->alice = without_pin(scene_address(f->pair.alice));
    f->bob = without_pin(scene_address(f->pair.bob));
}

static void tear_down(Rotations *f, gconstpointer data)
{
    mail_pair_close(&f->pair, NULL);
    g_free(f->alice);
    g_free(f->bob);
}

/* A fact of a contact, or of one's own identity when who is NULL; to be freed. */
static char *fact(SceneUser *u, const char *who, const char *key)
{
    json_t *facts =
        who ? scene_ctl_json(u, "contact", "show", who, NULL) : scene_ctl_json(u, "identity", "show", NULL);
    char *text = g_strdup(mail_fact(facts, key));

    json_decref(facts);
    return text;
}

static bool has_state(SceneUser *u, const char *state)
{
    json_t *rows = scene_ctl_json(u, "register", "--list", NULL);
    bool is = json_array_size(rows) == 1 && strcmp(mail_fact(json_array_get(rows, 0), "state"), state) == 0;

    json_decref(rows);
    return is;
}

static void rotate(SceneUser *u)
{
    g_autofree char *before = fact(u, NULL, "kid");

    scene_ctl_expect(u, 0, "identity", "rotate", NULL);
    g_autofree char *after = fact(u, NULL, "kid");
    g_assert_cmpstr(before, !=, after);
}

static void expect_read(SceneUser *u, size_t n, const char *expected)
{
    g_autofree char *text = mail_await(u, n);

    g_assert_cmpstr(text, ==, expected);
}

/* One of them has given the other's keys of now, and trusts them as before. */
static void expect_known(SceneUser *u, const char *who, SceneUser *owner, const char *trust)
{
    g_autofree char *known = fact(u, who, "kid"), *true_one = fact(owner, NULL, "kid");
    g_autofree char *found = fact(u, who, "trust");

    g_assert_cmpstr(known, ==, true_one);
    g_assert_cmpstr(found, ==, trust);
}

/* Both write to each other before and after, and Bob has compared Alice's fingerprint. */
static void test_no_warning(Rotations *f, gconstpointer data)
{
    SceneUser *alice = f->pair.alice, *bob = f->pair.bob;
    g_autofree char *first = mail_send(alice, f->bob, "one");
    expect_read(bob, 1, "one");
    g_autofree char *fingerprint = fact(alice, NULL, "fingerprint");
    scene_ctl_expect(bob, 0, "contact", "verify", f->alice, fingerprint, NULL);
    g_autofree char *second = mail_send(bob, f->alice, "two");
    expect_read(alice, 1, "two");
    rotate(alice);
    TEST_AWAIT(has_state(alice, "connected"));
    /* her mail shows the new key, his look-up does */
    g_autofree char *third = mail_send(alice, f->bob, "three");
    expect_read(bob, 2, "three");
    expect_known(bob, f->alice, alice, "verified");
    rotate(alice);
    TEST_AWAIT(has_state(alice, "connected"));
    g_autofree char *fourth = mail_send(bob, f->alice, "four");
    expect_read(alice, 2, "four");
    expect_known(bob, f->alice, alice, "verified");
    TEST_AWAIT(mail_states_are(alice, "delivered,delivered"));
    TEST_AWAIT(mail_states_are(bob, "delivered,delivered"));
    /* what was read before is read still */
    g_assert_true(mail_has(bob, "one"));
    g_assert_true(mail_has(alice, "two"));
}

/* Mail that was at the relay for the former key, and mail by the former key, is read. */
static void test_under_way(Rotations *f, gconstpointer data)
{
    SceneUser *alice = f->pair.alice, *bob = f->pair.bob;
    g_autofree char *first = mail_send(alice, f->bob, "hello");
    expect_read(bob, 1, "hello");
    scene_agent_stop(alice);
    g_autofree char *second = mail_send(bob, f->alice, "while you were away");
    TEST_AWAIT(mail_states_are(bob, "accepted"));
    scene_agent_stop(bob);
    scene_relay_stop(f->pair.scene);
    scene_agent_start(alice);
    g_autofree char *third = mail_send(alice, f->bob, "by the former key");
    rotate(alice);
    rotate(alice);
    g_assert_true(has_state(alice, "rotating"));
    /* the relay hears of both at once */
    scene_relay_start(f->pair.scene);
    expect_read(alice, 1, "while you were away");
    scene_agent_start(bob);
    expect_read(bob, 2, "by the former key");
    g_autofree char *fourth = mail_send(bob, f->alice, "to the new key");
    expect_read(alice, 2, "to the new key");
    expect_known(bob, f->alice, alice, "pinned");
    TEST_AWAIT(mail_states_are(bob, "delivered,delivered"));
}

/* Killed right after, again and again: the relay hears of it in the end, once. */
static void test_killed(Rotations *f, gconstpointer data)
{
    SceneUser *alice = f->pair.alice, *bob = f->pair.bob;
    g_autofree char *first = mail_send(bob, f->alice, "before");
    expect_read(alice, 1, "before");
    for (unsigned i = 0; i < 3; i++) {
        rotate(alice);
        if (i > 0)
            scene_relay_kill(f->pair.scene);
        scene_agent_kill(alice);
        if (i > 0)
            scene_relay_start(f->pair.scene);
        scene_agent_start(alice);
    }
    TEST_AWAIT(has_state(alice, "connected"));
    g_autofree char *second = mail_send(bob, f->alice, "after");
    expect_read(alice, 2, "after");
    expect_known(bob, f->alice, alice, "pinned");
}

/* A guest elsewhere: the keys there follow with the next message. */
static void test_guest(Rotations *f, gconstpointer data)
{
    SceneUser *alice = f->pair.alice;
    g_autoptr(Scene) other = scene_new();

    scene_relay_start(other);
    SceneUser *carol = scene_user_new(other, "carol");
    scene_user_register(carol);
    scene_ctl_expect(carol, 0, "contact", "add", scene_address(alice), NULL);
    g_autofree char *first = mail_send(alice, scene_address(carol), "from afar");
    expect_read(carol, 1, "from afar");
    rotate(alice);
    TEST_AWAIT(has_state(alice, "connected"));
    g_autofree char *second = mail_send(alice, scene_address(carol), "with new keys");
    expect_read(carol, 2, "with new keys");
    expect_known(carol, f->alice, alice, "pinned");
}

/* hmsg-relay client delete ADDRESS */
static void delete_client(Rotations *f, const char *address)
{
    g_autofree char *relay = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
    g_autofree char *folder = scene_path(f->pair.scene, "relay");
    g_autofree char *config = g_build_filename(folder, "relay.conf", NULL);
    const char *argv[] = {relay, "client", "delete", address, "--config", config, NULL};

    g_assert_cmpint(test_run(argv, NULL, NULL, NULL, NULL), ==, 0);
}

/* Alice goes, or is deleted, and comes back with other keys: Bob, who has compared the first, follows. */
static void test_back(Rotations *f, gconstpointer data)
{
    SceneUser *alice = f->pair.alice, *bob = f->pair.bob;
    g_autofree char *first = mail_send(bob, f->alice, "one");
    expect_read(alice, 1, "one");
    g_autofree char *fingerprint = fact(alice, NULL, "fingerprint");
    scene_ctl_expect(bob, 0, "contact", "verify", f->alice, fingerprint, NULL);
    scene_ctl_expect(alice, 0, "register", f->alice, "--remove", NULL);
    rotate(alice);
    rotate(alice);
    scene_ctl_expect(alice, 0, "register", f->alice, NULL);
    g_autofree char *second = mail_send(bob, f->alice, "two");
    expect_read(alice, 2, "two");
    expect_known(bob, f->alice, alice, "verified");
    /* deleted while she is away, and her keys change before she knows */
    scene_agent_stop(alice);
    delete_client(f, f->alice);
    scene_relay_stop(f->pair.scene);
    scene_agent_start(alice);
    rotate(alice);
    scene_relay_start(f->pair.scene);
    scene_ctl_expect(alice, 0, "register", f->alice, NULL);
    g_autofree char *third = mail_send(bob, f->alice, "three");
    expect_read(alice, 3, "three");
    expect_known(bob, f->alice, alice, "verified");
    g_autofree char *fourth = mail_send(alice, f->bob, "four");
    expect_read(bob, 1, "four");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add("/rotate/" name, Rotations, NULL, set_up, test, tear_down)
    ADD("no-warning", test_no_warning);
    ADD("under-way", test_under_way);
    ADD("killed", test_killed);
    ADD("guest", test_guest);
    ADD("back", test_back);
    return g_test_run();
}
