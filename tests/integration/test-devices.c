/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Bob has two machines, with keys of their own. What Alice sends to him arrives on both. */

#include <string.h>

#include "tests/integration/mail.h"

typedef struct Scenery {
    MailPair pair;
    SceneUser *laptop; /* bob's */
} Scenery;

static void set_up(Scenery *s, gconstpointer data)
{
    mail_pair_open(&s->pair);
    s->laptop = scene_user_new(s->pair.scene, "laptop");
    scene_user_register(s->pair.alice);
    scene_user_register(s->pair.bob);
    scene_user_register(s->laptop);
}

static void tear_down(Scenery *s, gconstpointer data)
{
    mail_pair_close(&s->pair, NULL);
}

static char *fingerprint(SceneUser *u)
{
    json_t *facts = scene_ctl_json(u, "identity", "show", NULL);
    char *text = g_strdup(mail_fact(facts, "fingerprint"));

    json_decref(facts);
    return text;
}

static void add(SceneUser *to, SceneUser *device)
{
    g_autofree char *told = fingerprint(device);

    scene_ctl_expect(to, 0, "identity", "device", "add", scene_address(device), told, NULL);
}

static bool agrees_by(SceneUser *u, const char *option)
{
    json_t *all = scene_ctl_json(u, "identity", "device", "list", option, NULL);
    bool result;

    g_assert_cmpuint(json_array_size(all), ==, 1);
    result = json_is_true(json_object_get(json_array_get(all, 0), "agrees"));
    json_decref(all);
    return result;
}

static bool agrees(SceneUser *u)
{
    return agrees_by(u, NULL);
}

static void expect(SceneUser *u, size_t n, const char *text)
{
    g_autofree char *last = mail_await(u, n);

    g_assert_cmpstr(last, ==, text);
}

static void send_to(Scenery *s, SceneUser *to, const char *text)
{
    g_free(mail_send(s->pair.alice, scene_address(to), text));
}

static void test_both(Scenery *s, gconstpointer data)
{
    SceneUser *alice = s->pair.alice, *bob = s->pair.bob, *laptop = s->laptop;
    g_autofree char *bare = g_strndup(scene_address(laptop), strcspn(scene_address(laptop), "#"));

    /* one word is not enough */
    add(bob, laptop);
    g_assert_false(agrees(bob));
    send_to(s, bob, "first");
    expect(bob, 1, "first");
    TEST_AWAIT(mail_states_are(alice, "delivered"));
    add(laptop, bob);
    g_assert_true(agrees(laptop));
    g_assert_false(agrees(bob));
    g_assert_true(agrees_by(bob, "--sync"));

    /* each has a mailbox of its own: what one has fetched waits for the other */
    scene_agent_stop(laptop);
    send_to(s, bob, "second");
    expect(bob, 2, "second");
    TEST_AWAIT(mail_states_are(alice, "delivered,delivered,accepted"));
    scene_agent_start(laptop);
    expect(laptop, 1, "second");
    TEST_AWAIT(mail_states_are(alice, "delivered,delivered,delivered"));
    /* to whichever of them */
    send_to(s, laptop, "third");
    expect(laptop, 2, "third");
    expect(bob, 3, "third");

    /* keys that follow are as good */
    scene_ctl_expect(laptop, 0, "identity", "rotate", NULL);
    send_to(s, bob, "fourth");
    expect(bob, 4, "fourth");
    expect(laptop, 3, "fourth");
    scene_ctl_expect(bob, 0, "identity", "rotate", NULL);
    send_to(s, bob, "fifth");
    expect(bob, 5, "fifth");
    expect(laptop, 4, "fifth");

    scene_ctl_expect(bob, 0, "identity", "device", "remove", bare, NULL);
    scene_ctl_expect(bob, 4, "identity", "device", "remove", bare, NULL);
    scene_ctl_expect(bob, 2, "identity", "device", "remove", "garbage", NULL);
    g_assert_false(agrees_by(laptop, "--sync"));
    send_to(s, bob, "sixth");
    expect(bob, 6, "sixth");
    send_to(s, laptop, "seventh"); /* which names bob still */
    expect(laptop, 5, "seventh");
    g_assert_cmpuint(mail_count(bob, NULL), ==, 6);
}

/* Alice encrypts to one; who can decrypt it? */
static char *encrypt(Scenery *s, SceneUser *to)
{
    char *out = NULL;

    g_assert_cmpint(
        scene_ctl(s->pair.alice, "for your eyes", &out, NULL, "encrypt", "-r", scene_address(to), NULL), ==,
        0);
    return out;
}

static void expect_decrypt(SceneUser *u, const char *package, int status)
{
    g_autofree char *out = NULL;

    g_assert_cmpint(scene_ctl(u, package, &out, NULL, "decrypt", NULL), ==, status);
    if (status == 0)
        g_assert_cmpstr(out, ==, "for your eyes");
}

static void test_large(Scenery *s, gconstpointer data)
{
    g_autofree char *sent = mail_file(s->pair.scene, "sent", 3 << 20);
    SceneUser *const both[] = {s->pair.bob, s->laptop};

    add(s->pair.bob, s->laptop);
    add(s->laptop, s->pair.bob);
    g_autofree char *package = encrypt(s, s->pair.bob);
    for (size_t i = 0; i < G_N_ELEMENTS(both); i++)
        expect_decrypt(both[i], package, 0);
    scene_ctl_expect(s->pair.alice, 0, "send", "-r", scene_address(s->pair.bob), sent, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(both); i++) {
        g_autofree char *name = g_strdup_printf("got%zu", i), *got = scene_path(s->pair.scene, name);

        TEST_AWAIT(mail_count(both[i], NULL) == 1);
        g_auto(GStrv) ids = mail_ids(both[i]);
        scene_ctl_expect(both[i], 0, "read", ids[0], "-o", got, NULL);
        mail_files_equal(sent, got);
    }
}

/* Whoever says that another's keys are theirs gets that one nothing, and learns nothing. */
static void test_refused(Scenery *s, gconstpointer data)
{
    SceneUser *alice = s->pair.alice, *bob = s->pair.bob, *eve = s->laptop;
    g_autofree char *wrong = fingerprint(alice);

    scene_ctl_expect(eve, 8, "identity", "device", "add", scene_address(bob), wrong, NULL);
    add(eve, bob);
    g_autofree char *package = encrypt(s, eve);
    expect_decrypt(eve, package, 0);
    expect_decrypt(bob, package, 5);
    send_to(s, eve, "for eve alone");
    expect(eve, 1, "for eve alone");
    send_to(s, bob, "for bob alone");
    expect(bob, 1, "for bob alone");
    TEST_AWAIT(mail_states_are(alice, "delivered,delivered"));
    g_assert_cmpuint(mail_count(eve, NULL), ==, 1);
    g_assert_false(agrees(eve));
    /* not oneself, and nobody who is not there */
    g_autofree char *own = fingerprint(bob);
    scene_ctl_expect(bob, 2, "identity", "device", "add", scene_address(bob), own, NULL);
    scene_ctl_expect(bob, 2, "identity", "device", "add", NULL);
    scene_ctl_expect(bob, 2, "identity", "device", "lend", NULL);
    g_autofree char *nobody = g_strconcat("no", scene_address(bob), NULL);
    scene_ctl_expect(bob, 4, "identity", "device", "add", nobody, own, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add("/devices/" name, Scenery, NULL, set_up, test, tear_down)
    ADD("both", test_both);
    ADD("large", test_large);
    ADD("refused", test_refused);
    return g_test_run();
}
