/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A relay changes its identity key: those who know it follow by themselves, whether they were told before or
 * were away, and nobody follows a key that the one they know has not named. */

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>

#include "tests/integration/mail.h"
#include "tests/lib/softhsm.h"
#include "tests/lib/swtpm.h"

#define KILLS 8
#define UNTRUSTED 8

static void set_up(MailPair *p, gconstpointer data)
{
    mail_pair_open(p);
    scene_user_register(p->alice);
    scene_user_register(p->bob);
}

static char *relay_file(const MailPair *p, const char *name)
{
    g_autofree char *folder = scene_path(p->scene, "relay");
    return g_build_filename(folder, name, NULL);
}

/* hmsg-relay words; what it prints, when the exit status is as expected. */
static char *administer(const MailPair *p, int expected, const char *first, const char *second,
                        const char *third)
{
    g_autofree char *relay = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
    g_autofree char *config = relay_file(p, "relay.conf");
    const char *argv[] = {relay, first, second, "--config", config, third, NULL};
    g_autofree char *err = NULL;
    char *out = NULL;
    int status = test_run(argv, NULL, NULL, &out, &err);

    if (status != expected)
        g_error("hmsg-relay %s %s exits with %d: %s%s", first, second, status, out, err);
    return out;
}

/* A fact of key show --json; to be freed. */
static char *key_fact(const MailPair *p, const char *name)
{
    g_autofree char *out = administer(p, 0, "key", "show", "--json");
    json_t *j = json_loads(out, 0, NULL);
    char *text = g_strdup(mail_fact(j, name));

    json_decref(j);
    return text;
}

static void change_key(const MailPair *p)
{
    scene_relay_stop(p->scene);
    g_free(administer(p, 0, "key", "rotate", "--now"));
    scene_relay_start_rekeyed(p->scene);
}

static bool all_arrived(SceneUser *u)
{
    g_autofree char *states = mail_states(u);
    return !strstr(states, "accepted") && !strstr(states, "queued");
}

static void expect_mail(SceneUser *from, SceneUser *to, const char *text)
{
    g_free(mail_send(from, scene_address(to), text));
    TEST_AWAIT(mail_has(to, text));
    TEST_AWAIT(all_arrived(from));
}

static bool is_connected(SceneUser *u)
{
    json_t *rows = scene_ctl_json(u, "register", "--list", NULL);
    bool connected = strcmp(mail_fact(json_array_get(rows, 0), "state"), "connected") == 0;

    json_decref(rows);
    return connected;
}

/* Has the agent of alice been told? She hears it with every answer. */
static bool relay_tells(const MailPair *p, const char *next)
{
    g_autofree char *log = scene_path(p->scene, "relay.log");
    g_autofree char *text = mail_log(log);

    return strstr(text, next) != NULL;
}

static void test_announced(MailPair *p, gconstpointer data)
{
    g_autofree char *first = key_fact(p, "pin");
    g_autofree char *said = administer(p, 0, "key", "rotate", NULL);
    g_autofree char *next = key_fact(p, "next_pin");
    g_autofree char *successions = relay_file(p, "identity.pem.successions");

    g_assert_nonnull(strstr(said, next));
    g_assert_cmpstr(first, !=, next);
    /* not yet, and not twice */
    g_free(administer(p, 0, "key", "rotate", NULL));
    g_autofree char *still = key_fact(p, "next_pin");
    g_assert_cmpstr(still, ==, next);
    g_autofree char *unchanged = key_fact(p, "pin");
    g_assert_cmpstr(unchanged, ==, first);

    scene_relay_signal(p->scene, SIGHUP);
    TEST_AWAIT(relay_tells(p, next));
    expect_mail(p->alice, p->bob, "Your keys will change, I hear");
    expect_mail(p->bob, p->alice, "So do I");

    /* not while it runs */
    g_free(administer(p, 1, "key", "rotate", "--now"));
    g_autofree char *same = key_fact(p, "pin");
    g_assert_cmpstr(same, ==, first);
    scene_relay_stop(p->scene);
    g_free(administer(p, 0, "key", "rotate", "--now"));
    g_autofree char *second = key_fact(p, "pin");
    g_assert_cmpstr(second, ==, next);
    /* what was announced is enough: no statement of the former key is there to be asked for */
    g_assert_cmpint(g_unlink(successions), ==, 0);
    scene_relay_start_rekeyed(p->scene);
    expect_mail(p->alice, p->bob, "It has");
    expect_mail(p->bob, p->alice, "Indeed");
    TEST_AWAIT(is_connected(p->alice));

    /* known by its new key after a restart too, and shown so */
    scene_agent_stop(p->alice);
    scene_agent_start(p->alice);
    TEST_AWAIT(is_connected(p->alice));
    json_t *rows = scene_ctl_json(p->alice, "register", "--list", NULL);
    g_assert_nonnull(strstr(mail_fact(json_array_get(rows, 0), "relay"), second));
    json_decref(rows);
    expect_mail(p->alice, p->bob, "Still here");
}

/* Two changes while bob was away; and an address that was given out before them leads there. */
static void test_missed(MailPair *p, gconstpointer data)
{
    scene_agent_stop(p->bob);
    g_autofree char *waiting = mail_send(p->alice, scene_address(p->bob), "When you are back");
    TEST_AWAIT(mail_states_are(p->alice, "accepted"));
    change_key(p);
    TEST_AWAIT(is_connected(p->alice));
    change_key(p);
    TEST_AWAIT(is_connected(p->alice));
    scene_agent_start(p->bob);
    g_autofree char *text = mail_await(p->bob, 1);
    g_assert_cmpstr(text, ==, "When you are back");
    TEST_AWAIT(mail_states_are(p->alice, "delivered"));
    expect_mail(p->bob, p->alice, "I am");

    SceneUser *carol = scene_user_new(p->scene, "carol");
    scene_ctl_expect(carol, 0, "identity", "create", NULL);
    g_assert_null(strstr(scene_address(p->bob), strchr(scene_relay(p->scene), '#')));
    scene_ctl_expect(carol, 0, "contact", "add", scene_address(p->bob), NULL);
    /* she knows the new pin first, then gets an old card */
    SceneUser *dave = scene_user_new(p->scene, "dave");
    scene_user_register(dave);
    scene_ctl_expect(dave, 0, "contact", "add", scene_address(p->bob), NULL);
    expect_mail(dave, p->bob, "From Dave");
}

/* Another relay in the place of the first, with a key of its own; what was there stands in the folder name.
 */
static void replace_relay(const MailPair *p, const char *name)
{
    g_autofree char *folder = scene_path(p->scene, "relay"), *kept = scene_path(p->scene, name);
    g_autofree char *config = relay_file(p, "relay.conf");
    g_autofree char *relay = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
    const char *const argv[] = {relay, "init", "--host", "127.0.0.1", folder, NULL};
    g_autofree char *settings = NULL;

    scene_relay_stop(p->scene);
    g_assert_true(g_file_get_contents(config, &settings, NULL, NULL));
    g_assert_cmpint(g_rename(folder, kept), ==, 0);
    g_assert_cmpint(test_run(argv, NULL, NULL, NULL, NULL), ==, 0);
    g_assert_true(g_file_set_contents(config, settings, -1, NULL));
}

static bool queued_because(SceneUser *u, const char *why)
{
    json_t *rows = scene_ctl_json(u, "outbox", NULL);
    bool so = strstr(mail_fact(json_array_get(rows, json_array_size(rows) - 1), "error"), why) != NULL;

    json_decref(rows);
    return so;
}

/* What was sent while the relay was away waits on when another one comes back, and arrives when that is gone;
 * and an address with the pin of now is good for who has only met the former key. */
static void test_waiting(MailPair *p, gconstpointer data)
{
    g_autofree char *folder = scene_path(p->scene, "relay"), *kept = scene_path(p->scene, "kept");

    expect_mail(p->alice, p->bob, "Before");
    scene_relay_stop(p->scene);
    g_free(mail_send(p->alice, scene_address(p->bob), "While nobody answers"));
    replace_relay(p, "kept");
    scene_relay_start_rekeyed(p->scene);
    TEST_AWAIT(mail_states_are(p->alice, "delivered,queued") && queued_because(p->alice, "pinned key"));
    scene_relay_stop(p->scene);
    test_folder_remove(g_strdup(folder));
    g_assert_cmpint(g_rename(kept, folder), ==, 0);
    scene_agent_stop(p->alice);
    g_free(administer(p, 0, "key", "rotate", "--now"));
    scene_relay_start_rekeyed(p->scene);
    g_autofree char *bob = g_strdup_printf("bob@%s", scene_relay(p->scene));
    scene_agent_start(p->alice);
    scene_ctl_expect(p->alice, 0, "contact", "add", bob, NULL);
    TEST_AWAIT(mail_has(p->bob, "While nobody answers"));
}

/* Another relay in the place of the first, with a key of its own and a statement that is not by the key that
 * is known. */
static void test_thief(MailPair *p, gconstpointer data)
{
    g_autofree char *folder = scene_path(p->scene, "relay"), *kept = scene_path(p->scene, "kept");

    expect_mail(p->alice, p->bob, "Before");
    replace_relay(p, "kept");
    change_key(p); /* the thief has statements as well, of a key of his own */

    g_autofree char *err = NULL;
    g_assert_cmpint(scene_ctl(p->alice, NULL, NULL, &err, "contact", "add", scene_address(p->alice), NULL),
                    ==, UNTRUSTED);
    g_assert_nonnull(strstr(err, "does not have the pinned key"));
    scene_ctl_expect(p->bob, UNTRUSTED, "send", "-r", scene_address(p->alice), NULL);
    g_autofree char *check = administer(p, 0, "store", "check", NULL);
    g_assert_nonnull(strstr(check, "identities: 0\n"));
    g_assert_nonnull(strstr(check, "messages: 0\n"));

    /* the relay is back: all goes on */
    scene_relay_stop(p->scene);
    test_folder_remove(g_strdup(folder));
    g_assert_cmpint(g_rename(kept, folder), ==, 0);
    scene_relay_start_rekeyed(p->scene);
    TEST_AWAIT(is_connected(p->alice));
    expect_mail(p->alice, p->bob, "Not to be had by others");
}

/* Both register anew, at a relay whose key nobody has named. */
static void trust_anew(const MailPair *p)
{
    SceneUser *const users[] = {p->alice, p->bob};
    for (size_t i = 0; i < G_N_ELEMENTS(users); i++) {
        g_autofree char *name = g_strndup(scene_address(users[i]), strcspn(scene_address(users[i]), "@"));
        g_autofree char *address = g_strdup_printf("%s@%s", name, scene_relay(p->scene));

        scene_ctl_expect(users[i], UNTRUSTED, "register", scene_address(users[i]), NULL);
        scene_ctl_expect(users[i], UNTRUSTED, "register", address, NULL);
        scene_ctl_expect(users[i], 0, "register", address, "--trust-relay", NULL);
        TEST_AWAIT(is_connected(users[i]));
    }
}

/* A key that is lost can name no other: who runs the relay tells the new pin, and the users say so. */
static void test_by_hand(MailPair *p, gconstpointer data)
{
    replace_relay(p, "lost");
    scene_relay_start_rekeyed(p->scene);
    trust_anew(p);
    g_autofree char *bob = g_strdup_printf("bob@%s", scene_relay(p->scene));
    g_autofree char *id = mail_send(p->alice, bob, "At the new one");
    g_autofree char *text = mail_await(p->bob, 1);
    g_assert_cmpstr(text, ==, "At the new one");
}

/* A new relay in the place of the first, with a key that a device holds: all goes on as it does with one in a
 * file, through a change as well. what: more words of init. */
static void with_device(MailPair *p, const char *const *what, const char *input, const char *setting,
                        const char *expected)
{
    g_autofree char *folder = scene_path(p->scene, "relay"), *kept = scene_path(p->scene, "without"),
                    *config = relay_file(p, "relay.conf"), *settings = NULL, *all = NULL,
                    *relay = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
    const char *const argv[] = {relay,   "init",  "--host", "127.0.0.1", folder,
                                what[0], what[1], what[2],  what[3],     NULL};

    scene_relay_stop(p->scene);
    g_assert_true(g_file_get_contents(config, &settings, NULL, NULL));
    g_assert_cmpint(g_rename(folder, kept), ==, 0);
    g_assert_cmpint(test_run(argv, NULL, input, NULL, NULL), ==, 0);
    all = g_strconcat(settings, setting, NULL);
    g_assert_true(g_file_set_contents(config, all, -1, NULL));
    scene_relay_start_rekeyed(p->scene);
    trust_anew(p);
    g_autofree char *held = key_fact(p, "held");
    g_assert_cmpstr(held, ==, expected);
    g_autofree char *bob = g_strdup_printf("bob@%s", scene_relay(p->scene));
    g_free(mail_send(p->alice, bob, "Out of a device"));
    TEST_AWAIT(mail_has(p->bob, "Out of a device"));
    change_key(p);
    g_free(mail_send(p->alice, bob, "And of the next key"));
    TEST_AWAIT(mail_has(p->bob, "And of the next key"));
    scene_relay_stop(p->scene);
}

/* A wrong PIN, and none, are said; nothing stays of them, so that init can be run again. */
static void expect_no_pin(MailPair *p, const char *uri)
{
    g_autofree char *relay = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL),
                    *folder = scene_path(p->scene, "mistaken"), *err = NULL,
                    *pin = g_build_filename(folder, "identity.pin", NULL);
    const char *const wrong[] = {relay, "init",     "--host", "127.0.0.1", "--key",
                                 uri,   "--pin-fd", "0",      folder,      NULL};
    const char *const none[] = {relay, "init", "--host", "127.0.0.1", "--key", uri, folder, NULL};

    g_assert_cmpint(test_run(wrong, NULL, "000000", NULL, NULL), ==, 1);
    g_assert_false(g_file_test(pin, G_FILE_TEST_EXISTS));
    g_assert_cmpint(test_run(none, NULL, NULL, NULL, &err), ==, 1);
    g_assert_nonnull(strstr(err, "--pin-fd"));
}

static void test_token(MailPair *p, gconstpointer data)
{
    static const char *const tokens[] = {"relay", NULL};
    g_autofree char *hsm = scene_path(p->scene, "hsm"), *pin = relay_file(p, "identity.pin"),
                    *uri = test_softhsm_uri("token=relay");
    const char *const what[] = {"--key", uri, "--pin-fd", "0"};

    if (!test_softhsm_available()) {
        g_test_skip("SoftHSM 2 is not installed");
        return;
    }
    g_assert_cmpint(g_mkdir(hsm, 0700), ==, 0);
    test_softhsm_set_up(hsm, tokens);
    expect_no_pin(p, uri);
    with_device(p, what, TEST_SOFTHSM_PIN, "", "token");
    /* without the PIN it does not open */
    g_assert_true(g_file_set_contents_full(pin, "000000", -1, 0, 0600, NULL));
    g_free(administer(p, 1, "key", "show", NULL));
}

static void test_tpm(MailPair *p, gconstpointer data)
{
    g_autoptr(TestSwtpm) tpm = test_swtpm_new(NULL);
    const char *const what[] = {"--key", "tpm2", "--tcti", test_swtpm_tcti(tpm)};
    g_autofree char *setting = g_strdup_printf("\n[identity]\ntcti = %s\n", test_swtpm_tcti(tpm));

    with_device(p, what, NULL, setting, "tpm2");
    g_free(administer(p, 0, "config", "check", NULL));
    test_swtpm_stop(tpm); /* the public key is still there to be read */
    g_free(administer(p, 0, "key", "show", NULL));
    g_free(administer(p, 1, "config", "check", NULL));
}

static unsigned times_told(const char *log)
{
    g_autofree char *text = mail_log(log);
    unsigned n = 0;

    for (const char *at = text; (at = strstr(at, "relay-restored")); at++)
        n++;
    return n;
}

static bool shows_restored(SceneUser *u)
{
    json_t *status = scene_ctl_json(u, "status", NULL);
    const json_t *relay = json_array_get(json_object_get(status, "relays"), 0);
    bool shows = strstr(mail_fact(relay, "error"), "former state") != NULL;

    g_assert_nonnull(relay);
    json_decref(status);
    return shows;
}

/* data is what the relay has from now on. */
static void put_back(const MailPair *p, const char *data)
{
    g_autofree char *there = relay_file(p, "data");

    scene_relay_stop(p->scene);
    test_folder_copy(data, there);
    scene_relay_start(p->scene);
}

/* The relay comes back as it was before: whoever was there since is told, whichever way the copy was made. */
static void test_restored(MailPair *p, gconstpointer data)
{
    g_autofree char *there = relay_file(p, "data"), *copy = relay_file(p, "copy"),
                    *backup = relay_file(p, "backup");
    g_autofree char *relay = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
    g_autofree char *config = relay_file(p, "relay.conf"), *log = NULL;
    g_autoptr(TestProcess) monitor = mail_monitor(p->scene, p->alice, "monitor.log", &log);

    scene_relay_stop(p->scene);
    test_folder_copy(there, copy);
    scene_relay_start(p->scene);
    expect_mail(p->alice, p->bob, "After the copy");
    scene_relay_stop(p->scene);
    scene_relay_start(p->scene);
    expect_mail(p->alice, p->bob, "A restart is nothing new");
    g_assert_cmpuint(times_told(log), ==, 0);
    g_assert_false(shows_restored(p->alice));
    const char *const make[] = {relay, "store", "backup", backup, "--config", config, NULL};
    g_assert_cmpint(test_run(make, NULL, NULL, NULL, NULL), ==, 0);

    put_back(p, copy);
    TEST_AWAIT(times_told(log) == 1);
    TEST_AWAIT(is_connected(p->alice));
    g_assert_true(shows_restored(p->alice));
    TEST_AWAIT(shows_restored(p->bob));
    expect_mail(p->alice, p->bob, "It goes on");
    g_assert_cmpuint(times_told(log), ==, 1);

    put_back(p, backup);
    TEST_AWAIT(times_told(log) == 2);
    expect_mail(p->bob, p->alice, "And on");
}

/* Who was not there since a backup was made has lost nothing, and is told nothing. */
static void test_spared(MailPair *p, gconstpointer data)
{
    g_autofree char *backup = relay_file(p, "backup"), *config = relay_file(p, "relay.conf"),
                    *relay = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
    const char *const make[] = {relay, "store", "backup", backup, "--config", config, NULL};

    expect_mail(p->alice, p->bob, "Before");
    scene_agent_stop(p->bob);
    scene_relay_stop(p->scene);
    scene_relay_start(p->scene);
    TEST_AWAIT(is_connected(p->alice));
    g_assert_cmpint(test_run(make, NULL, NULL, NULL, NULL), ==, 0);
    put_back(p, backup);
    TEST_AWAIT(shows_restored(p->alice));
    scene_agent_start(p->bob);
    TEST_AWAIT(is_connected(p->bob));
    g_assert_false(shows_restored(p->bob));
    expect_mail(p->bob, p->alice, "Nothing happened to me");
}

/* The power may go at any time of a change: there is one key then, and what is stored opens with it. */
static void test_killed(MailPair *p, gconstpointer data)
{
    g_autofree char *relay = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
    g_autofree char *config = relay_file(p, "relay.conf"), *log = scene_path(p->scene, "rotate.log");
    const char *const argv[] = {relay, "key", "rotate", "--now", "--config", config, NULL};

    scene_relay_stop(p->scene);
    for (unsigned i = 0; i < KILLS; i++) {
        TestProcess *rotate = test_process_start(argv, NULL, log);

        g_usleep((gulong)g_random_int_range(0, 300000));
        test_process_signal(rotate, SIGKILL);
        (void)test_process_wait(rotate);
        g_free(administer(p, 0, "key", "show", NULL));
        g_free(administer(p, 0, "store", "check", NULL));
    }
    g_free(administer(p, 0, "key", "rotate", "--now"));
    scene_relay_start_rekeyed(p->scene);
    expect_mail(p->alice, p->bob, "Through all of it");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(MailPair *, gconstpointer);
    } tests[] = {
        {"/relay-key/announced", test_announced}, {"/relay-key/missed", test_missed},
        {"/relay-key/thief", test_thief},         {"/relay-key/by-hand", test_by_hand},
        {"/relay-key/waiting", test_waiting},     {"/relay-key/spared", test_spared},
        {"/relay-key/token", test_token},         {"/relay-key/tpm", test_tpm},
        {"/relay-key/restored", test_restored},   {"/relay-key/killed", test_killed},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, MailPair, NULL, set_up, tests[i].test, mail_pair_close);
    return g_test_run();
}
