/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/cipher.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>
#include <tss2/tss2_tpm2_types.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/wire/package.h"
#include "tests/dbus/cipher-calls.h"
#include "tests/unit/tpm/relay.h"

#define CROWD 100
#define GREEDY_CALLS 255u /* with a ping: what one client may have without an answer */
#define SESSIONS AGENT_NAME ".Sessions"
#define INVALID_ARGS "org.freedesktop.DBus.Error.InvalidArgs"

/* With the connection to the bus, or with a channel in its place. */
static void test_round_trip(TestAgent *a, gconstpointer over_channel)
{
    start(a);
    g_autoptr(GDBusConnection) bus = g_object_ref(a->client);
    if (over_channel) {
        a->client = cipher_channel(a);
        g_object_unref(bus);
    }
    g_autoptr(GByteArray) p = encrypt(a, NULL, NULL);
    g_autoptr(GByteArray) q = encrypt(a, NULL, NULL);
    g_autoptr(GByteArray) fresh = encrypt(a, "fresh", g_variant_new_boolean(TRUE));
    g_autoptr(GVariant) first = decrypt(a, p, NULL);
    g_autofree char *skid = agent_fact(a, IDENTITY, "Show", "skid");
    const char *text = NULL;
    guint64 timestamp = 0;

    g_assert_true(flag(first, "verified") && flag(first, "trusted") && flag(first, "authenticated"));
    g_assert_true(!flag(first, "cached") && !flag(first, "replayed") && !flag(first, "expired"));
    g_assert_true(g_variant_lookup(first, "sender_kid", "&s", &text));
    g_assert_cmpstr(text, ==, skid);
    g_assert_true(g_variant_lookup(first, "format", "&s", &text));
    g_assert_cmpstr(text, ==, "hmsg");
    g_assert_true(g_variant_lookup(first, "timestamp", "t", &timestamp) && timestamp > 0);

    /* a cached session costs no TPM: this one does not answer */
    test_swtpm_freeze(a->tpm);
    g_autoptr(GVariant) second = decrypt(a, q, NULL);
    g_autoptr(GVariant) again = decrypt(a, p, NULL);
    test_swtpm_thaw(a->tpm);
    g_assert_true(flag(second, "cached") && !flag(second, "replayed"));
    g_assert_true(flag(again, "cached") && flag(again, "replayed"));
    g_autoptr(GVariant) other = decrypt(a, fresh, NULL);
    g_assert_false(flag(other, "cached"));
    if (over_channel) {
        g_object_unref(a->client);
        a->client = g_object_ref(bus);
    }
    agent_stop(a);
}

static void expect_seen(TestAgent *a, const GByteArray *p, bool cached, bool replayed)
{
    g_autoptr(GVariant) info = decrypt(a, p, NULL);

    g_assert_true(flag(info, "verified"));
    g_assert_true(flag(info, "cached") == cached);
    g_assert_true(flag(info, "replayed") == replayed);
}

/* What was seen goes with the cached session; the record for mail, which stays, is
 * tests/integration/test-replay.c. */
static void test_replayed(TestAgent *a, gconstpointer data)
{
    start(a);
    g_autoptr(GByteArray) p = encrypt(a, NULL, NULL);
    g_autoptr(GByteArray) q = encrypt(a, NULL, NULL);
    expect_seen(a, q, false, false);
    expect_seen(a, q, true, true);
    expect_seen(a, p, true, false); /* older, but new */
    test_process_signal(a->process, SIGKILL);
    g_assert_true(WIFSIGNALED(test_process_wait(g_steal_pointer(&a->process))));
    agent_start(a, NULL);
    expect_seen(a, q, false, false);
    expect_seen(a, q, true, true);
    expect_seen(a, p, true, false);
    expect_seen(a, p, true, true);
    agent_stop(a);
}

static void test_tpm_commands(TestAgent *a, gconstpointer data)
{
    Relay *relay = relay_new(a->tpm);

    agent_start(a, relay_tcti(relay));
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    g_autoptr(GByteArray) p = encrypt(a, NULL, NULL);
    g_autoptr(GByteArray) q = encrypt(a, NULL, NULL);
    g_autoptr(GVariant) first = decrypt(a, p, NULL);
    g_assert_cmpuint(relay_count(relay, TPM2_CC_RSA_Decrypt), ==, 1);
    unsigned n = relay_count(relay, 0);
    g_autoptr(GVariant) second = decrypt(a, q, NULL);
    g_autoptr(GByteArray) anonymous = encrypt(a, "sign", g_variant_new_boolean(FALSE));
    g_autoptr(GByteArray) again = encrypt(a, NULL, NULL);
    g_assert_cmpuint(relay_count(relay, 0), ==, n);
    agent_stop(a);
    relay_free(relay);
}

static void test_anonymous(TestAgent *a, gconstpointer data)
{
    start(a);
    g_autoptr(GByteArray) p = encrypt(a, "sign", g_variant_new_boolean(FALSE));
    expect_error(a, p, NULL, ERROR("Untrusted"));
    g_autoptr(GVariant) info = decrypt(a, p, "allow_unknown");
    g_assert_true(!flag(info, "verified") && !flag(info, "trusted"));
    agent_stop(a);
}

static void remove_mac(GByteArray *seed)
{
    const char *mac = g_strrstr_len((const char *)seed->data, seed->len, ",\"hmac\"");

    g_assert_nonnull(mac);
    g_byte_array_set_size(seed, (guint)((const uint8_t *)mac - seed->data));
    g_byte_array_append(seed, (const uint8_t *)"}", 1);
}

static void test_seed(TestAgent *a, gconstpointer data)
{
    start(a);
    g_autoptr(GByteArray) p = encrypt(a, "format", g_variant_new_string("seed"));
    expect_error(a, p, NULL, ERROR("Untrusted"));
    g_autoptr(GVariant) info = decrypt(a, p, "allow_unknown");
    g_assert_true(flag(info, "authenticated") && !flag(info, "verified"));
    remove_mac(p);
    expect_error(a, p, NULL, ERROR("AuthenticationFailed"));
    expect_error(a, p, "allow_unknown", ERROR("AuthenticationFailed"));
    g_autoptr(GVariant) careless = decrypt(a, p, "allow_unauthenticated");
    g_assert_false(flag(careless, "authenticated"));
    agent_stop(a);
}

/* Somebody with keys in software. */
typedef struct Stranger {
    EVP_PKEY *pair;
    RsaKey *key;
} Stranger;

static Stranger stranger_new(void)
{
    Stranger s = {.pair = EVP_RSA_gen(2048)};

    g_assert_nonnull(s.pair);
    g_assert_cmpint(rsa_key_from_evp(s.pair, &s.key), ==, 0);
    return s;
}

static void stranger_done(Stranger *s)
{
    rsa_key_free(s->key);
    EVP_PKEY_free(s->pair);
}

/* A package of the stranger's; spoil changes the session before it is used. */
static GByteArray *package_of(Stranger *s, RsaKey *to, void (*spoil)(WireSession *w))
{
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX), out = BUF_MAX(PACKAGE_SIZE_MAX);
    _cleanup_(wire_session_freep) WireSession *w = NULL;
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    GByteArray *p = g_byte_array_new();

    g_assert_cmpint(wire_session_new(to, s->key, clock_realtime(), 3600, &w), ==, 0);
    g_assert_cmpint(wire_session_prepare(w, &draft), ==, 0);
    g_assert_cmpint(rsa_private_sign_ps256(s->pair, draft.digest, &signature), ==, 0);
    g_assert_cmpint(wire_session_finish(w, &draft, signature.data, signature.size), ==, 0);
    if (spoil)
        spoil(w);
    g_assert_cmpint(package_build(w, 0, clock_realtime(), 0, TEXT, strlen(TEXT), &out), ==, 0);
    g_byte_array_append(p, out.data, (guint)out.size);
    return p;
}

static RsaKey *agent_key(TestAgent *a)
{
    g_autoptr(GByteArray) pem = cipher_public_key(a);
    RsaKey *key = NULL;

    g_assert_cmpint(rsa_key_from_pem((const char *)pem->data, pem->len, &key), ==, 0);
    return key;
}

/* Encrypts and authenticates with keys that it does not commit to. */
static void spoil_mac(WireSession *w)
{
    secret_data(w->keys)[0] ^= 1;
}

static void test_strangers(TestAgent *a, gconstpointer data)
{
    Stranger s = stranger_new(), other = stranger_new();

    start(a);
    RsaKey *us = agent_key(a);
    g_autoptr(GByteArray) p = package_of(&s, us, NULL);
    g_autoptr(GByteArray) not_for_us = package_of(&s, other.key, NULL);
    expect_error(a, p, NULL, ERROR("Untrusted"));
    g_autoptr(GVariant) info = decrypt(a, p, "allow_unknown");
    g_assert_false(flag(info, "verified"));
    expect_error(a, not_for_us, "allow_unknown", ERROR("NotForUs"));

    /* the wrong keys, and a statement that was changed: one error, the same text, again and again */
    g_autoptr(GByteArray) bad_mac = package_of(&s, us, spoil_mac);
    g_autofree char *text = NULL;
    g_autofree char *name = decrypt_error(a, bad_mac, "allow_unknown", &text);
    g_assert_cmpstr(name, ==, ERROR("AuthenticationFailed"));
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *cached_text = NULL;
        g_autofree char *cached_name = NULL;
        guint8 *digit = &p->data[p->len - 40], original = *digit; /* of the signature's base64 */
        *digit = original == 'A' ? 'B' : 'A';
        cached_name = decrypt_error(a, p, "allow_unknown", &cached_text);
        *digit = original;
        g_assert_cmpstr(cached_name, ==, name);
        g_assert_cmpstr(cached_text, ==, text);
    }
    rsa_key_free(us);
    stranger_done(&s);
    stranger_done(&other);
    agent_stop(a);
}

/* Where the base64 text of a member begins. */
static guint text_of(const GByteArray *p, const char *member)
{
    g_autofree char *name = g_strdup_printf("\"%s\":\"", member);
    const char *found = g_strstr_len((const char *)p->data, p->len, name);

    g_assert_nonnull(found);
    return (guint)((const uint8_t *)found - p->data) + (guint)strlen(name);
}

/* Another letter, of the 16th byte. */
static void change(GByteArray *p, const char *member)
{
    guint8 *letter = &p->data[text_of(p, member) + 20];

    *letter = *letter == 'A' ? 'B' : 'A';
}

/* Takes p over. The same again from what is remembered. */
static void expect_failure(TestAgent *a, GByteArray *p, const char *option, const char *expected)
{
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *text = NULL;
        g_autofree char *name = decrypt_error(a, p, option, &text);

        g_assert_cmpstr(name, ==, ERROR("AuthenticationFailed"));
        g_assert_cmpstr(text, ==, expected);
    }
    g_byte_array_unref(p);
}

/* OAEP, MAC, and padding: nobody can tell which it was. */
static void test_one_failure(TestAgent *a, gconstpointer data)
{
    static const char *const members[] = {"encrypted_aes_key", "iv", "ciphertext", "mac"};
    static const char *const seed_members[] = {"encrypted_aes_key", "iv", "ciphertext", "hmac"};
    GVariant *no = g_variant_ref_sink(g_variant_new_boolean(FALSE));
    GVariant *seed = g_variant_ref_sink(g_variant_new_string("seed"));
    g_autofree char *text = NULL;

    start(a);
    g_autoptr(GByteArray) first = encrypt(a, "sign", no);
    change(first, "mac");
    g_autofree char *name = decrypt_error(a, first, "allow_unknown", &text);
    g_assert_cmpstr(name, ==, ERROR("AuthenticationFailed"));
    for (size_t i = 0; i < G_N_ELEMENTS(members); i++) {
        GByteArray *p = encrypt(a, "sign", no);
        change(p, members[i]);
        expect_failure(a, p, "allow_unknown", text);
        p = encrypt(a, "format", seed);
        change(p, seed_members[i]);
        expect_failure(a, p, "allow_unknown", text);
    }
    /* without a MAC the padding is all that there is; the change is to its last byte */
    GByteArray *p = encrypt(a, "format", seed);
    remove_mac(p);
    change(p, "ciphertext");
    expect_failure(a, p, "allow_unauthenticated", text);
    g_variant_unref(no);
    g_variant_unref(seed);
    agent_stop(a);
}

static bool is_documented(const char *name)
{
    static const char *const names[] = {ERROR("BadPackage"), ERROR("AuthenticationFailed"), ERROR("NotForUs"),
                                        ERROR("Untrusted"), ERROR("TooLarge")};

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* Every shorter text, every byte changed; with its session cached. */
static void test_mutations(TestAgent *a, gconstpointer data)
{
    start(a);
    g_autoptr(GByteArray) p = encrypt(a, NULL, NULL);
    g_autoptr(GVariant) info = decrypt(a, p, NULL);
    for (guint n = 0; n < p->len; n++) {
        g_autoptr(GByteArray) cut = g_byte_array_new();
        g_byte_array_append(cut, p->data, n);
        expect_error(a, cut, NULL, ERROR("BadPackage"));
    }
    for (guint i = 0; i < p->len; i++) {
        p->data[i] ^= 0x02;
        g_autofree char *name = decrypt_error(a, p, NULL, NULL);
        p->data[i] ^= 0x02;
        if (!is_documented(name))
            g_error("byte %u: %s", i, name);
    }
    /* twice the same name; more than fits */
    g_autoptr(GByteArray) twice = g_byte_array_new();
    g_byte_array_append(twice, p->data, p->len - 1);
    g_byte_array_append(twice, (const uint8_t *)",\"hmsg\":1}", 10);
    expect_error(a, twice, NULL, ERROR("BadPackage"));
    g_autoptr(GByteArray) large = g_byte_array_new();
    g_byte_array_set_size(large, PACKAGE_SIZE_MAX + 1);
    memset(large->data, ' ', large->len);
    expect_error(a, large, NULL, ERROR("TooLarge"));
    agent_stop(a);
}

static void test_arguments(TestAgent *a, gconstpointer data)
{
    g_autofree char *name = NULL;
    g_autofree char *much = g_malloc0(PLAINTEXT_SIZE_MAX + 1);
    GVariantDict options;

    start(a);
    g_variant_dict_init(&options, NULL);
    g_assert_null(cipher_call(a, "Encrypt",
                              encrypt_arguments(a, &options, cipher_bytes(much, PLAINTEXT_SIZE_MAX + 1)),
                              NULL, &name, NULL));
    g_assert_cmpstr(name, ==, ERROR("TooLarge"));
    g_clear_pointer(&name, g_free);
    g_variant_dict_init(&options, NULL);
    g_variant_dict_insert(&options, "format", "s", "zip");
    g_assert_null(
        cipher_call(a, "Encrypt", encrypt_arguments(a, &options, cipher_bytes("", 0)), NULL, &name, NULL));
    g_assert_cmpstr(name, ==, INVALID_ARGS);
    g_clear_pointer(&name, g_free);
    g_assert_null(cipher_call(a, "Encrypt", g_variant_new("(as@aya{sv})", NULL, cipher_bytes("", 0), NULL),
                              NULL, &name, NULL));
    g_assert_cmpstr(name, ==, INVALID_ARGS); /* to nobody */
    agent_stop(a);
}

static void test_no_identity(TestAgent *a, gconstpointer data)
{
    Stranger s = stranger_new();

    agent_start(a, NULL);
    g_autoptr(GByteArray) p = package_of(&s, s.key, NULL);
    expect_error(a, p, NULL, ERROR("NoIdentity"));
    stranger_done(&s);
    agent_stop(a);
}

static void test_lock(TestAgent *a, gconstpointer data)
{
    start(a);
    g_autoptr(GByteArray) p = encrypt(a, NULL, NULL);
    g_autoptr(GVariant) info = decrypt(a, p, NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    expect_error(a, p, NULL, ERROR("Locked"));
    g_variant_unref(agent_call(a, IDENTITY, "Unlock", NULL));
    g_autoptr(GVariant) again = decrypt(a, p, NULL);
    g_assert_false(flag(again, "cached"));
    agent_stop(a);
}

static void on_decrypted(GObject *source, GAsyncResult *result, gpointer userdata)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);
    bool *done = userdata;

    g_assert_no_error(error);
    *done = true;
}

/* One client that asks for all it may have leaves room for others in front of a TPM that is slow. */
static void test_greedy(TestAgent *a, gconstpointer data)
{
    bool done = false;

    start(a);
    g_autoptr(GByteArray) p = encrypt(a, NULL, NULL);
    g_autoptr(GDBusConnection) greedy = agent_connect(a);
    test_swtpm_freeze(a->tpm);
    for (unsigned i = 0; i < GREEDY_CALLS; i++)
        g_dbus_connection_call(greedy, AGENT_NAME, AGENT_PATH, CIPHER, "Decrypt", decrypt_arguments(p, NULL),
                               NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) pong = g_dbus_connection_call_sync(
        greedy, AGENT_NAME, AGENT_PATH, "org.freedesktop.DBus.Peer", "Ping", NULL, NULL,
        G_DBUS_CALL_FLAGS_NONE, TEST_AWAIT_SECONDS * 1000, NULL, &error); /* the agent has them all */
    g_assert_no_error(error);
    g_dbus_connection_call(a->client, AGENT_NAME, AGENT_PATH, CIPHER, "Decrypt", decrypt_arguments(p, NULL),
                           NULL, G_DBUS_CALL_FLAGS_NONE, TEST_AWAIT_SECONDS * 1000, NULL, on_decrypted,
                           &done);
    g_autofree char *state = agent_state(a); /* and this one */
    g_assert_true(g_dbus_connection_close_sync(greedy, NULL, NULL));
    test_swtpm_thaw(a->tpm);
    while (!done)
        g_main_context_iteration(NULL, TRUE);
    agent_stop(a);
}

static void on_crowd(GObject *source, GAsyncResult *result, gpointer userdata)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);

    g_assert_no_error(error);
    ++*(unsigned *)userdata;
}

/* Many clients and one slow TPM: what all of them want, it does once. */
static void test_crowd(TestAgent *a, gconstpointer data)
{
    Relay *relay = relay_new(a->tpm);
    GDBusConnection *crowd[CROWD];
    unsigned told = 0;

    agent_start(a, relay_tcti(relay));
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    g_autoptr(GByteArray) p = encrypt(a, NULL, NULL);
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] = agent_connect(a);
        g_autoptr(GVariant) pong = g_dbus_connection_call_sync(
            crowd[i], AGENT_NAME, AGENT_PATH, AGENT, "GetStatus", g_variant_new("(a{sv})", NULL), NULL,
            G_DBUS_CALL_FLAGS_NONE, TEST_AWAIT_SECONDS * 1000, NULL, NULL); /* the agent knows it */
        g_assert_nonnull(pong);
    }
    test_swtpm_freeze(a->tpm);
    for (unsigned i = 0; i < CROWD; i++)
        g_dbus_connection_call(crowd[i], AGENT_NAME, AGENT_PATH, CIPHER, "Decrypt",
                               decrypt_arguments(p, NULL), NULL, G_DBUS_CALL_FLAGS_NONE,
                               TEST_AWAIT_SECONDS * 1000, NULL, on_crowd, &told);
    for (unsigned i = 0; i < CROWD; i++) {
        g_autoptr(GVariant) pong = g_dbus_connection_call_sync(
            crowd[i], AGENT_NAME, AGENT_PATH, AGENT, "GetStatus", g_variant_new("(a{sv})", NULL), NULL,
            G_DBUS_CALL_FLAGS_NONE, TEST_AWAIT_SECONDS * 1000, NULL, NULL); /* and what it asked for */
        g_assert_nonnull(pong);
    }
    g_assert_cmpuint(told, ==, 0);
    test_swtpm_thaw(a->tpm);
    while (told < CROWD)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpuint(relay_count(relay, TPM2_CC_RSA_Decrypt), ==, 1);
    for (unsigned i = 0; i < CROWD; i++)
        g_object_unref(crowd[i]);
    agent_stop(a);
    relay_free(relay);
}

static void test_sessions(TestAgent *a, gconstpointer data)
{
    guint32 n = 0;

    start(a);
    g_autoptr(GByteArray) p = encrypt(a, NULL, NULL);
    g_autoptr(GVariant) info = decrypt(a, p, NULL);
    g_autoptr(GVariant) reply = agent_call(a, SESSIONS, "List", NULL);
    g_autoptr(GVariant) list = g_variant_get_child_value(reply, 0);
    g_assert_cmpuint(g_variant_n_children(list), ==, 2); /* in and out */
    g_autoptr(GVariant) none =
        agent_call(a, SESSIONS, "Flush", agent_option("direction", g_variant_new_string("in")));
    g_variant_get(none, "(u)", &n);
    g_assert_cmpuint(n, ==, 1);
    agent_expect_error(a, SESSIONS, "Flush", agent_option("id", g_variant_new_string("no")),
                       ERROR("NotFound"));
    g_autoptr(GVariant) again = decrypt(a, p, NULL);
    g_assert_false(flag(again, "cached"));
    agent_stop(a);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!test_swtpm_available()) {
        g_test_message("swtpm is not installed");
        return 77;
    }
#define ADD(name, function)                                                                                  \
    g_test_add("/dbus/cipher/" name, TestAgent, NULL, agent_set_up, function, agent_tear_down)
    g_test_add("/dbus/cipher/channel", TestAgent, "channel", agent_set_up, test_round_trip, agent_tear_down);
    ADD("round-trip", test_round_trip);
    ADD("tpm-commands", test_tpm_commands);
    ADD("anonymous", test_anonymous);
    ADD("seed", test_seed);
    ADD("strangers", test_strangers);
    ADD("one-failure", test_one_failure);
    ADD("mutations", test_mutations);
    ADD("arguments", test_arguments);
    ADD("no-identity", test_no_identity);
    ADD("lock", test_lock);
    ADD("replayed", test_replayed);
    ADD("greedy", test_greedy);
    ADD("crowd", test_crowd);
    ADD("sessions", test_sessions);
    return g_test_run();
}
