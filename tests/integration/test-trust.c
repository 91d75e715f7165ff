/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who is trusted: relays by their pin, people by their keys. What is not trusted is refused, exit 8. */

#include <string.h>

#include "tests/integration/mail.h"
#include "tests/lib/fake-relay.h"

#define OTHER_PIN "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define UNTRUSTED 8

static void set_up(MailPair *p, gconstpointer data)
{
    mail_pair_open(p);
    scene_user_register(p->bob);
}

static char *without_pin(const char *address)
{
    return g_strndup(address, strcspn(address, "#"));
}

static size_t count_of(SceneUser *u, const char *command, const char *word)
{
    json_t *rows = scene_ctl_json(u, command, word, NULL);
    size_t n = json_array_size(rows);

    json_decref(rows);
    return n;
}

/* hmsgctl contact show; "" when there is no such fact. To be freed. */
static char *contact_fact(SceneUser *u, const char *who, const char *key)
{
    json_t *contact = scene_ctl_json(u, "contact", "show", who, NULL);
    char *text = g_strdup(mail_fact(contact, key));

    json_decref(contact);
    return text;
}

static void expect_trust(SceneUser *u, const char *who, const char *expected)
{
    g_autofree char *trust = contact_fact(u, who, "trust");

    g_assert_cmpstr(trust, ==, expected);
}

/* The sentence and the hint of a refusal; to be freed. */
#define REFUSED(u, ...)                                                                                      \
    ({                                                                                                       \
        char *err_ = NULL;                                                                                   \
        g_autofree char *out_ = NULL;                                                                        \
        g_assert_cmpint(scene_ctl(u, NULL, &out_, &err_, __VA_ARGS__, NULL), ==, UNTRUSTED);                 \
        g_assert_cmpstr(out_, ==, "");                                                                       \
        err_;                                                                                                \
    })

static void test_unknown_relay(MailPair *p, gconstpointer data)
{
    g_autofree char *bob = without_pin(scene_address(p->bob));
    g_autofree char *alice = without_pin(scene_address(p->alice));

    scene_ctl_expect(p->alice, 0, "identity", "create", NULL);
    /* each says which form would do, and none remembers anything for the next */
    g_autofree char *send = REFUSED(p->alice, "send", "-r", bob);
    g_autofree char *encrypt = REFUSED(p->alice, "encrypt", "-r", bob);
    g_autofree char *add = REFUSED(p->alice, "contact", "add", bob);
    g_autofree char *enter = REFUSED(p->alice, "register", alice);
    const char *const said[] = {send, encrypt, add, enter};
    for (size_t i = 0; i < G_N_ELEMENTS(said); i++)
        if (!strstr(said[i], scene_relay(p->scene)))
            g_error("the relay with its pin is not in: %s", said[i]);
    g_assert_nonnull(strstr(add, "--trust-relay"));
    g_assert_cmpuint(count_of(p->alice, "contact", "list"), ==, 0);
    g_assert_cmpuint(count_of(p->alice, "register", "--list"), ==, 0);
    g_assert_true(mail_states_are(p->alice, ""));
    scene_agent_stop(p->alice);
    scene_agent_start(p->alice);
    g_autofree char *again = REFUSED(p->alice, "contact", "add", bob);
    g_assert_nonnull(strstr(again, scene_relay(p->scene)));

    /* the user's word, which outlives the agent */
    scene_ctl_expect(p->alice, 0, "contact", "add", bob, "--trust-relay", NULL);
    scene_agent_stop(p->alice);
    scene_agent_start(p->alice);
    scene_ctl_expect(p->alice, 0, "register", alice, NULL);
    g_autofree char *id = mail_send(p->alice, bob, "at last");
    g_autofree char *text = mail_await(p->bob, 1);
    g_assert_cmpstr(text, ==, "at last");
}

/* An address with the pin needs no other word, and what it says of the relay stays. */
static void test_pinned_relay(MailPair *p, gconstpointer data)
{
    g_autofree char *bob = without_pin(scene_address(p->bob));
    g_autofree char *wrong = g_strconcat(bob, "#" OTHER_PIN, NULL);

    scene_ctl_expect(p->alice, 0, "contact", "add", scene_address(p->bob), NULL);
    scene_ctl_expect(p->alice, 0, "contact", "forget", bob, NULL);
    scene_ctl_expect(p->alice, 0, "contact", "add", bob, NULL);
    scene_ctl_expect(p->alice, 0, "contact", "forget", bob, NULL);
    g_autofree char *add = REFUSED(p->alice, "contact", "add", wrong);
    g_autofree char *trusted = REFUSED(p->alice, "contact", "add", wrong, "--trust-relay");
    g_assert_cmpuint(count_of(p->alice, "contact", "list"), ==, 0);
}

/* A relay that has another key than the address says is asked whether that is so because it has
 * changed it, and is told nothing. */
static void test_wrong_pin(MailPair *p, gconstpointer data)
{
    g_autoptr(FakeRelay) relay = fake_relay_new(&(FakeRelayOptions){0});
    g_autofree char *bob = g_strdup_printf("bob@%s#" OTHER_PIN, fake_relay_host_port(relay));
    g_autofree char *kept = g_strdup_printf("bob@%s", fake_relay_host_port(relay));

    scene_ctl_expect(p->alice, 0, "identity", "create", NULL);
    g_autofree char *add = REFUSED(p->alice, "contact", "add", bob);
    g_autofree char *trusted = REFUSED(p->alice, "contact", "add", bob, "--trust-relay");
    g_autofree char *encrypt = REFUSED(p->alice, "encrypt", "-r", bob);
    g_autofree char *send = REFUSED(p->alice, "send", "-r", bob);
    g_autofree char *enter = REFUSED(p->alice, "register", bob);
    g_assert_nonnull(strstr(add, "The relay does not have the pinned key"));
    unsigned before = fake_relay_requests(relay);
    g_assert_cmpuint(before, >, 0);
    g_assert_null(fake_relay_body(relay, "GET /v1/names/bob"));
    g_assert_null(fake_relay_body(relay, "POST /v1/nonces"));
    g_assert_null(fake_relay_body(relay, "POST /v1/challenges"));
    g_assert_cmpuint(count_of(p->alice, "contact", "list"), ==, 0);
    g_assert_cmpuint(count_of(p->alice, "register", "--list"), ==, 0);

    /* nor is it known now: it is asked who it is, and nothing else */
    g_assert_cmpint(scene_ctl(p->alice, NULL, NULL, NULL, "contact", "add", kept, NULL), !=, 0);
    g_assert_cmpuint(fake_relay_requests(relay), ==, before + 1);
    g_autoptr(GBytes) asked = fake_relay_body(relay, "GET /v1/relay");
    g_assert_nonnull(asked);
    g_assert_cmpuint(g_bytes_get_size(asked), ==, 0);
}

/* The same name, with keys made anew. */
static void replace_keys(SceneUser *u)
{
    scene_ctl_expect(u, 0, "register", "--remove", scene_address(u), NULL);
    scene_ctl_expect(u, 0, "identity", "delete", "--yes", NULL);
    scene_ctl_expect(u, 0, "identity", "create", NULL);
    scene_ctl_expect(u, 0, "register", scene_address(u), NULL);
}

static void test_changed_key(MailPair *p, gconstpointer data)
{
    g_autofree char *bob = without_pin(scene_address(p->bob));
    g_autofree char *alice = without_pin(scene_address(p->alice));
    g_autofree char *old = scene_path(p->scene, "old.hmsg");

    scene_user_register(p->alice);
    scene_ctl_expect(p->alice, 0, "contact", "add", scene_address(p->bob), NULL);
    g_autofree char *before = contact_fact(p->alice, bob, "fingerprint");
    scene_ctl_expect(p->alice, UNTRUSTED, "contact", "verify", bob, "0000 0000", NULL);
    expect_trust(p->alice, bob, "pinned");
    scene_ctl_expect(p->alice, 0, "contact", "verify", bob, before, NULL);
    expect_trust(p->alice, bob, "verified");
    scene_ctl_expect(p->bob, 0, "contact", "add", alice, NULL);

    replace_keys(p->bob);
    g_autofree char *send = REFUSED(p->alice, "send", "-r", bob);
    g_assert_nonnull(strstr(send, "contact verify"));
    g_assert_true(mail_states_are(p->alice, ""));
    expect_trust(p->alice, bob, "changed");
    g_autofree char *encrypt = REFUSED(p->alice, "encrypt", "-r", bob);
    g_assert_nonnull(strstr(encrypt, "contact verify"));

    /* what the new key's owner writes is kept apart */
    g_autofree char *id = mail_send(p->bob, alice, "It is me, with a new key");
    TEST_AWAIT(mail_states_are(p->bob, "delivered"));
    TEST_AWAIT(mail_count(p->alice, "quarantined") == 1);
    g_assert_cmpuint(mail_count(p->alice, NULL), ==, 1);

    g_autofree char *after = contact_fact(p->alice, bob, "new_fingerprint");
    json_t *show = scene_ctl_json(p->bob, "identity", "show", NULL);
    g_assert_cmpstr(mail_fact(show, "fingerprint"), ==, after);
    json_decref(show);
    g_assert_cmpstr(before, !=, after);
    scene_ctl_expect(p->alice, UNTRUSTED, "contact", "verify", bob, before, NULL);
    expect_trust(p->alice, bob, "changed");
    scene_ctl_expect(p->alice, 0, "contact", "verify", bob, after, NULL);
    expect_trust(p->alice, bob, "verified");
    g_autofree char *sent = mail_send(p->alice, bob, "Welcome back");
    g_autofree char *text = mail_await(p->bob, 1);
    g_assert_cmpstr(text, ==, "Welcome back");
}

static void test_block(MailPair *p, gconstpointer data)
{
    g_autofree char *bob = without_pin(scene_address(p->bob));
    g_autofree char *alice = without_pin(scene_address(p->alice));

    scene_user_register(p->alice);
    scene_ctl_expect(p->alice, 0, "contact", "add", bob, NULL);
    scene_ctl_expect(p->alice, 0, "contact", "block", bob, NULL);
    expect_trust(p->alice, bob, "blocked");
    g_autofree char *send = REFUSED(p->alice, "send", "-r", bob);
    g_autofree char *encrypt = REFUSED(p->alice, "encrypt", "-r", bob);
    g_assert_nonnull(strstr(send, "contact allow"));
    TEST_AWAIT(mail_relay_has(p, "SELECT allowed FROM senders", "0"));
    g_autofree char *first = mail_send(p->bob, alice, "You have blocked me");
    TEST_AWAIT(mail_states_are(p->bob, "failed"));
    g_auto(GStrv) none = mail_ids(p->alice);
    g_assert_cmpuint(g_strv_length(none), ==, 0);

    scene_ctl_expect(p->alice, 0, "contact", "allow", bob, NULL);
    expect_trust(p->alice, bob, "pinned");
    TEST_AWAIT(mail_relay_has(p, "SELECT allowed FROM senders", "1"));
    g_autofree char *second = mail_send(p->bob, alice, "And now?");
    TEST_AWAIT(mail_has(p->alice, "And now?"));
    scene_ctl_expect(p->alice, 0, "send", "-r", bob, NULL);
    json_t *shown = scene_ctl_json(p->alice, "contact", "show", bob, NULL);
    scene_ctl_expect(p->alice, 0, "contact", "block", mail_fact(shown, "skid"), NULL);
    expect_trust(p->alice, bob, "blocked");
    scene_ctl_expect(p->alice, 0, "contact", "allow", mail_fact(shown, "skid"), NULL);
    expect_trust(p->alice, bob, "pinned");
    json_decref(shown);
    scene_ctl_expect(p->alice, 4, "contact", "block", "carol", NULL);
    scene_ctl_expect(p->alice, 4, "contact", "allow", "carol", NULL);
}

/* hmsg-relay client verb client, of this relay; what it prints. A key may begin with a dash. */
static char *administer(const Scene *s, const char *verb, const char *client)
{
    g_autofree char *relay = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
    g_autofree char *folder = scene_path(s, "relay"), *config = g_build_filename(folder, "relay.conf", NULL);
    const char *const argv[] = {relay, "client", verb, "--json", "--config", config, "--", client, NULL};
    char *out = NULL;

    g_assert_cmpint(test_run(argv, NULL, NULL, &out, NULL), ==, 0);
    return out;
}

/* As if they had sent nothing for long. */
static unsigned forget_guests(const Scene *s)
{
    g_autofree char *out = administer(s, "list", NULL);
    g_auto(GStrv) lines = g_strsplit(g_strchomp(out), "\n", -1);
    unsigned n = 0;

    for (size_t i = 0; lines[i]; i++) {
        json_t *row = json_loads(lines[i], 0, NULL);

        g_assert_nonnull(row);
        if (!*mail_fact(row, "address")) {
            g_free(administer(s, "delete", mail_fact(row, "key")));
            n++;
        }
        json_decref(row);
    }
    return n;
}

/* Each has a mailbox at a relay of their own, and is a guest at the other's. */
static void test_guests(MailPair *p, gconstpointer data)
{
    g_autoptr(Scene) other = scene_new();

    scene_user_register(p->alice);
    scene_relay_start(other);
    SceneUser *carol = scene_user_new(other, "carol");
    scene_user_register(carol);
    g_autofree char *first = mail_send(p->alice, scene_address(carol), "Hello over there");
    g_autofree char *text = mail_await(carol, 1);
    g_assert_cmpstr(text, ==, "Hello over there");
    TEST_AWAIT(mail_states_are(p->alice, "delivered"));
    g_assert_cmpuint(count_of(p->alice, "register", "--list"), ==, 1);

    /* Carol does not know Alice's relay: the key is all that her own vouches for */
    json_t *identity = scene_ctl_json(p->alice, "identity", "show", NULL);
    json_t *rows = scene_ctl_json(carol, "inbox", NULL);
    const json_t *row = json_array_get(rows, 0);
    g_assert_true(json_is_true(json_object_get(row, "verified")));
    g_assert_cmpstr(mail_fact(row, "sender"), ==, mail_fact(identity, "skid"));
    json_decref(rows);
    json_decref(identity);

    g_autofree char *second = mail_send(carol, scene_address(p->alice), "And hello back");
    g_autofree char *answer = mail_await(p->alice, 1);
    g_assert_cmpstr(answer, ==, "And hello back");
    TEST_AWAIT(mail_states_are(carol, "delivered"));
    g_autofree char *carols = without_pin(scene_address(carol));
    g_autofree char *alices = without_pin(scene_address(p->alice));
    rows = scene_ctl_json(p->alice, "inbox", NULL);
    g_assert_cmpstr(mail_fact(json_array_get(rows, 0), "sender"), ==, carols);
    json_decref(rows);
    rows = scene_ctl_json(carol, "inbox", NULL);
    g_assert_cmpstr(mail_fact(json_array_get(rows, 0), "sender"), ==, alices);
    json_decref(rows);

    /* a guest who was forgotten comes again, and nobody notices */
    g_assert_cmpuint(forget_guests(other), ==, 1);
    g_free(mail_send(p->alice, scene_address(carol), "Still there"));
    g_free(mail_await(carol, 2));
    TEST_AWAIT(mail_states_are(p->alice, "delivered,delivered"));
    rows = scene_ctl_json(carol, "inbox", NULL);
    g_assert_cmpuint(json_array_size(rows), ==, 2);
    for (size_t i = 0; i < 2; i++)
        g_assert_cmpstr(mail_fact(json_array_get(rows, i), "sender"), ==, alices);
    json_decref(rows);

    /* a guest has no mailbox */
    g_autofree char *astray = g_strconcat("alice", strchr(scene_address(carol), '@'), NULL);
    scene_ctl_expect(carol, 4, "send", "-r", astray, NULL);
    g_assert_true(mail_relay_holds(p->scene, 0, 0));
    g_assert_true(mail_relay_holds(other, 0, 0));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(MailPair *, gconstpointer);
    } tests[] = {
        {"/trust/relay/unknown", test_unknown_relay}, {"/trust/relay/pinned", test_pinned_relay},
        {"/trust/relay/wrong-pin", test_wrong_pin},   {"/trust/contact/changed", test_changed_key},
        {"/trust/contact/blocked", test_block},       {"/trust/guests", test_guests},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, MailPair, NULL, set_up, tests[i].test, mail_pair_close);
    return g_test_run();
}
