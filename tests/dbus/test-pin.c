/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An identity with a PIN, which reaches the agent in a memfd. */

#include <unistd.h>

#include "tests/dbus/cipher.h"

#define PAUSES 8u
#define PAUSE 3000u /* µs */
#define INVALID_ARGS "org.freedesktop.DBus.Error.InvalidArgs"

/* The name of the error, to be freed; NULL: it decrypts. */
static char *decrypt(TestAgent *a, const GByteArray *p)
{
    char *name = NULL;
    g_autofree char *text = NULL;
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    g_autoptr(GVariant) reply =
        cipher_call(a, "Decrypt",
                    g_variant_new("(@ay@a{sv})", cipher_bytes(p->data, p->len), g_variant_dict_end(&options)),
                    NULL, &name, &text);
    return name;
}

static void test_pin(TestAgent *a, gconstpointer data)
{
    int ends[2];

    agent_start(a, NULL);
    g_assert_cmpint(pipe(ends), ==, 0);
    agent_expect_named(agent_call_with_fd(a, "Create", ends[0]),
                       INVALID_ARGS); /* nobody will ever write to it */
    agent_expect_named(agent_call_with_fd(a, "Create", ends[1]), INVALID_ARGS);
    agent_expect_named(agent_call_with_fd(a, "Create", agent_memfd("123")), INVALID_ARGS);
    agent_expect_named(agent_call_with_fd(a, "Create", agent_memfd("2580")), NULL);
    agent_expect_state(a, "ready");
    g_autoptr(GByteArray) p = cipher_package(a);
    agent_stop(a);

    agent_start(a, NULL);
    agent_expect_state(a, "locked");
    agent_expect_named(decrypt(a, p), ERROR("Locked"));
    agent_expect_error(a, IDENTITY, "Unlock", NULL, ERROR("Locked"));
    agent_expect_named(agent_call_with_fd(a, "Unlock", agent_memfd("2581")), ERROR("Locked"));
    agent_expect_state(a, "locked");
    agent_expect_named(agent_call_with_fd(a, "Unlock", agent_memfd("2580")), NULL);
    agent_expect_state(a, "ready");
    agent_expect_named(decrypt(a, p), NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    agent_expect_named(decrypt(a, p), ERROR("Locked"));
    agent_stop(a);
}

/* A call that is on its way. */
typedef struct Going {
    GVariant *reply; /* NULL: it failed */
    char *error;
    bool done;
} Going;

static void going_clear(Going *g)
{
    g_clear_pointer(&g->reply, g_variant_unref);
    g_clear_pointer(&g->error, g_free);
    g->done = false;
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Going, going_clear)

static void on_reply(GObject *source, GAsyncResult *result, gpointer userdata)
{
    Going *g = userdata;
    g_autoptr(GError) error = NULL;

    g->reply =
        g_dbus_connection_call_with_unix_fd_list_finish(G_DBUS_CONNECTION(source), NULL, result, &error);
    g->error = error ? g_dbus_error_get_remote_error(error) : NULL;
    g->done = true;
}

static void begin(TestAgent *a, const char *interface, const char *method, GVariant *arguments, int fd,
                  Going *g)
{
    g_autoptr(GUnixFDList) fds = fd >= 0 ? g_unix_fd_list_new_from_array(&fd, 1) : NULL;

    g_dbus_connection_call_with_unix_fd_list(a->client, AGENT_NAME, AGENT_PATH, interface, method, arguments,
                                             NULL, G_DBUS_CALL_FLAGS_NONE, TEST_AWAIT_SECONDS * 1000, fds,
                                             NULL, on_reply, g);
}

static void await(const Going *g)
{
    while (!g->done)
        g_main_context_iteration(NULL, TRUE);
}

/* Somebody locks while the keys are being made: they are locked once they are there. */
static void test_lock_during_create(TestAgent *a, gconstpointer data)
{
    const char *pin = data;
    g_auto(Going) create = {0};
    GVariantDict options;

    agent_start(a, NULL);
    test_swtpm_freeze(a->tpm);
    g_variant_dict_init(&options, NULL);
    if (pin)
        g_variant_dict_insert(&options, "pin", "h", 0);
    begin(a, IDENTITY, "Create", g_variant_new("(@a{sv})", g_variant_dict_end(&options)),
          pin ? agent_memfd(pin) : -1, &create);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    test_swtpm_thaw(a->tpm);
    await(&create);
    g_assert_cmpstr(create.error, ==, NULL);
    agent_expect_state(a, "locked");
    if (pin) {
        agent_expect_error(a, IDENTITY, "Unlock", NULL, ERROR("Locked"));
        agent_expect_named(agent_call_with_fd(a, "Unlock", agent_memfd("2581")), ERROR("Locked"));
        agent_expect_named(agent_call_with_fd(a, "Unlock", agent_memfd(pin)), NULL);
    } else
        g_variant_unref(agent_call(a, IDENTITY, "Unlock", NULL));
    agent_expect_state(a, "ready");
    g_autoptr(GByteArray) p = cipher_package(a);
    agent_expect_named(decrypt(a, p), NULL);
    agent_stop(a);
}

static void begin_decrypt(TestAgent *a, const GByteArray *p, Going *g)
{
    GVariantDict options;

    going_clear(g);
    g_variant_dict_init(&options, NULL);
    begin(a, CIPHER, "Decrypt",
          g_variant_new("(@ay@a{sv})", cipher_bytes(p->data, p->len), g_variant_dict_end(&options)), -1, g);
}

/* The whole text, or Locked; true when it is the text. */
static bool finishes(const Going *g)
{
    await(g);
    if (!g->reply) {
        g_assert_cmpstr(g->error, ==, ERROR("Locked"));
        return false;
    }
    g_autoptr(GVariant) bytes = g_variant_get_child_value(g->reply, 0);
    g_autoptr(GByteArray) text = cipher_array(bytes);
    g_assert_cmpmem(text->data, text->len, "text", 4);
    return true;
}

static void test_lock_during_decrypt(TestAgent *a, gconstpointer data)
{
    g_auto(Going) g = {0};

    agent_start(a, NULL);
    agent_expect_named(agent_call_with_fd(a, "Create", agent_memfd("2580")), NULL);
    g_autoptr(GByteArray) p = cipher_package(a);
    /* the TPM is still at it */
    test_swtpm_freeze(a->tpm);
    begin_decrypt(a, p, &g);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    test_swtpm_thaw(a->tpm);
    g_assert_false(finishes(&g));
    agent_expect_named(agent_call_with_fd(a, "Unlock", agent_memfd("2580")), NULL);
    /* the key is in the cache already */
    agent_expect_named(decrypt(a, p), NULL);
    begin_decrypt(a, p, &g);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    (void)finishes(&g);
    agent_expect_named(decrypt(a, p), ERROR("Locked"));
    /* wherever it is */
    for (unsigned pause = 0; pause < PAUSES; pause++) {
        agent_expect_named(agent_call_with_fd(a, "Unlock", agent_memfd("2580")), NULL);
        begin_decrypt(a, p, &g);
        g_usleep(pause * PAUSE);
        g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
        (void)finishes(&g);
        agent_expect_named(decrypt(a, p), ERROR("Locked"));
    }
    agent_stop(a);
}

static void test_without(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    agent_expect_named(agent_call_with_fd(a, "Unlock", agent_memfd("2580")), INVALID_ARGS);
    agent_expect_error(a, IDENTITY, "Unlock", agent_option("pin", g_variant_new_string("2580")),
                       INVALID_ARGS);
    agent_stop(a);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dbus/pin/pin", TestAgent, NULL, agent_set_up, test_pin, agent_tear_down);
    g_test_add("/dbus/pin/lock-during-create", TestAgent, "2580", agent_set_up, test_lock_during_create,
               agent_tear_down);
    g_test_add("/dbus/pin/lock-during-create-without", TestAgent, NULL, agent_set_up, test_lock_during_create,
               agent_tear_down);
    g_test_add("/dbus/pin/lock-during-decrypt", TestAgent, NULL, agent_set_up, test_lock_during_decrypt,
               agent_tear_down);
    g_test_add("/dbus/pin/without", TestAgent, NULL, agent_set_up, test_without, agent_tear_down);
    return g_test_run();
}
