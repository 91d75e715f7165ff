/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An identity in software, on a machine without a TPM. */

#include <stdint.h>
#include <unistd.h>

#include "tests/dbus/cipher.h"

#define NO_TPM "swtpm:path=/nonexistent/tpm"
#define PASSWORD "correct horse battery staple"
#define OTHER "Tr0ub4dor&3-and-more"
#define INVALID_ARGS "org.freedesktop.DBus.Error.InvalidArgs"
#define FAILURES 3u
#define KILLS_DEFAULT 10u
#define KILL_STEP 60000u /* µs */

/* pin, new_pin: NULL for none. options: ended here. The name of the error, to be freed; NULL: none. */
static char *with_passwords(TestAgent *a, const char *method, const char *pin, const char *new_pin,
                            GVariantDict *options, char **ret_text)
{
    g_autoptr(GUnixFDList) fds = g_unix_fd_list_new();
    g_autoptr(GError) error = NULL;
    const char *const names[] = {"pin", "new_pin"}, *const texts[] = {pin, new_pin};

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        int fd = texts[i] ? agent_memfd(texts[i]) : -1;

        if (fd < 0)
            continue;
        g_variant_dict_insert(options, names[i], "h", g_unix_fd_list_append(fds, fd, NULL));
        close(fd);
    }
    g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_sync(
        a->client, AGENT_NAME, AGENT_PATH, IDENTITY, method,
        g_variant_new("(@a{sv})", g_variant_dict_end(options)), NULL, G_DBUS_CALL_FLAGS_NONE,
        TEST_AWAIT_SECONDS * 1000, fds, NULL, NULL, &error);
    if (error && ret_text)
        *ret_text = g_strdup(error->message);
    return reply ? NULL : g_dbus_error_get_remote_error(error);
}

static char *set_password(TestAgent *a, const char *now, const char *next, bool keep)
{
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    if (keep)
        g_variant_dict_insert(&options, "keep_key", "b", TRUE);
    return with_passwords(a, "SetPin", now, next, &options, NULL);
}

static char *unlock(TestAgent *a, const char *password)
{
    return agent_call_with_fd(a, "Unlock", agent_memfd(password));
}

/* The name of the error, to be freed; NULL: it decrypts, and says what protects us. */
static char *decrypt(TestAgent *a, const GByteArray *p)
{
    char *name = NULL;
    const char *protection = NULL;
    g_autofree char *text = NULL;
    g_autoptr(GVariant) reply =
        cipher_call(a, "Decrypt",
                    g_variant_new("(@ay@a{sv})", cipher_bytes(p->data, p->len),
                                  g_variant_new_array(G_VARIANT_TYPE("{sv}"), NULL, 0)),
                    NULL, &name, &text);
    if (!reply)
        return name;
    g_autoptr(GVariant) info = g_variant_get_child_value(reply, 1);
    g_assert_true(g_variant_lookup(info, "protection", "&s", &protection));
    g_assert_cmpstr(protection, ==, "software");
    return NULL;
}

/* The folder of the keys; to be freed. */
static char *keys_folder(const TestAgent *a)
{
    g_autofree char *keys = g_build_filename(a->data, "keys", NULL);
    g_autoptr(GDir) dir = g_dir_open(keys, 0, NULL);
    const char *name = dir ? g_dir_read_name(dir) : NULL;

    g_assert_true(!name || !g_dir_read_name(dir)); /* one at most */
    return name ? g_build_filename(keys, name, NULL) : NULL;
}

/* Never in silence, never without a good password. */
static void test_create(TestAgent *a, gconstpointer data)
{
    GVariantDict none;
    g_autofree char *text = NULL;

    agent_start(a, NO_TPM);
    g_variant_dict_init(&none, NULL);
    agent_expect_named(with_passwords(a, "Create", NULL, NULL, &none, &text), ERROR("TpmUnavailable"));
    g_assert_nonnull(strstr(text, "--protection software"));
    agent_expect_named(agent_create_software(a, NULL), INVALID_ARGS);
    agent_expect_named(agent_create_software(a, "2580"), INVALID_ARGS);
    agent_expect_named(agent_create_software(a, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), INVALID_ARGS);
    agent_expect_state(a, "none");
    agent_expect_named(agent_create_software(a, PASSWORD), NULL);
    agent_expect_state(a, "ready");
    agent_expect_named(agent_create_software(a, PASSWORD), ERROR("AlreadyExists"));
    g_autofree char *shown = agent_fact(a, IDENTITY, "Show", "protection");
    g_assert_cmpstr(shown, ==, "software");
    g_autofree char *status = agent_fact(a, AGENT, "GetStatus", "protection");
    g_assert_cmpstr(status, ==, "software");
    g_autoptr(GByteArray) p = cipher_package(a);
    agent_expect_named(decrypt(a, p), NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    agent_expect_named(decrypt(a, p), ERROR("Locked"));
    agent_expect_named(unlock(a, PASSWORD), NULL);
    agent_expect_named(decrypt(a, p), NULL);
    agent_stop(a);

    agent_start(a, NO_TPM);
    agent_expect_state(a, "locked");
    agent_expect_named(decrypt(a, p), ERROR("Locked"));
    agent_expect_named(unlock(a, PASSWORD), NULL);
    agent_expect_named(decrypt(a, p), NULL);
    agent_stop(a);

    agent_start(a, NULL); /* a TPM changes nothing */
    agent_expect_state(a, "locked");
    agent_expect_named(unlock(a, PASSWORD), NULL);
    agent_expect_named(decrypt(a, p), NULL);
    g_autofree char *kid = agent_fact(a, IDENTITY, "Show", "kid");
    g_variant_unref(agent_call(a, IDENTITY, "Delete", agent_option("confirm", g_variant_new_string(kid))));
    agent_expect_state(a, "none");
    g_assert_null(keys_folder(a));
    agent_stop(a);
}

/* Nobody else counts: the agent lets one wait. */
static void test_wrong(TestAgent *a, gconstpointer data)
{
    char *name = NULL;

    agent_start(a, NO_TPM);
    agent_expect_named(agent_create_software(a, PASSWORD), NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    for (unsigned i = 0; i < FAILURES; i++)
        agent_expect_named(unlock(a, OTHER), ERROR("Locked"));
    agent_expect_named(unlock(a, PASSWORD), ERROR("TpmLockedOut"));
    agent_expect_state(a, "locked");
    do {
        g_free(name);
        name = unlock(a, PASSWORD);
    } while (g_strcmp0(name, ERROR("TpmLockedOut")) == 0);
    agent_expect_named(name, NULL);
    agent_expect_state(a, "ready");
    agent_stop(a);
}

/* "openssl pkey" finds the key that is shown. */
static void expect_openssl(TestAgent *a, const char *password, bool opens)
{
    g_autofree char *folder = keys_folder(a);
    g_autofree char *file = g_build_filename(a->folder, "password", NULL);
    g_autofree char *command =
        g_strdup_printf("openssl pkey -in %s/decrypt.pem -passin fd:3 -pubout 3<%s", folder, file);
    const char *const argv[] = {"sh", "-c", command, NULL};
    g_autofree char *out = NULL;
    g_autoptr(GByteArray) expected = cipher_public_key(a);
    int status = 0;

    g_assert_true(g_file_set_contents(file, password, -1, NULL));
    g_assert_true(g_spawn_sync(NULL, (char **)(uintptr_t)argv, NULL,
                               G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &out, NULL,
                               &status, NULL));
    g_assert_cmpint(g_spawn_check_wait_status(status, NULL), ==, opens);
    if (opens)
        g_assert_cmpmem(out, strlen(out), expected->data, expected->len);
}

static void test_password(TestAgent *a, gconstpointer data)
{
    agent_start(a, NO_TPM);
    agent_expect_named(agent_create_software(a, PASSWORD), NULL);
    g_autoptr(GByteArray) p = cipher_package(a);
    expect_openssl(a, PASSWORD, true);
    agent_expect_named(set_password(a, PASSWORD, NULL, false), INVALID_ARGS);
    agent_expect_named(set_password(a, PASSWORD, "2580", false), INVALID_ARGS);
    agent_expect_named(set_password(a, OTHER, OTHER, false), ERROR("Locked"));

    g_autofree char *one = agent_fact(a, IDENTITY, "Show", "kid");
    agent_expect_named(set_password(a, PASSWORD, OTHER, true), NULL);
    g_autofree char *kept = agent_fact(a, IDENTITY, "Show", "kid");
    g_assert_cmpstr(kept, ==, one);
    expect_openssl(a, PASSWORD, false);
    expect_openssl(a, OTHER, true);
    agent_expect_named(decrypt(a, p), NULL);

    agent_expect_named(set_password(a, OTHER, PASSWORD, false), NULL);
    g_autofree char *two = agent_fact(a, IDENTITY, "Show", "kid");
    g_assert_cmpstr(two, !=, one);
    expect_openssl(a, PASSWORD, true);
    agent_expect_named(decrypt(a, p), NULL); /* with a former key, under the new password */
    agent_stop(a);

    agent_start(a, NO_TPM);
    agent_expect_named(unlock(a, OTHER), ERROR("Locked"));
    agent_expect_named(unlock(a, PASSWORD), NULL);
    agent_expect_named(decrypt(a, p), NULL);
    agent_stop(a);
}

static void test_rotate(TestAgent *a, gconstpointer data)
{
    agent_start(a, NO_TPM);
    agent_expect_named(agent_create_software(a, PASSWORD), NULL);
    g_autoptr(GByteArray) p = cipher_package(a);
    g_variant_unref(agent_call(a, IDENTITY, "Rotate", NULL));
    agent_expect_named(decrypt(a, p), NULL);
    agent_expect_error(a, IDENTITY, "Rotate", agent_option("generation", g_variant_new_string("counter")),
                       INVALID_ARGS);
    g_variant_unref(agent_call(a, IDENTITY, "Rotate", agent_option("grace", g_variant_new_uint64(0))));
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    agent_expect_named(unlock(a, PASSWORD), NULL);
    agent_expect_named(decrypt(a, p), ERROR("NotForUs"));
    g_autofree char *folder = keys_folder(a);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    for (const char *name = g_dir_read_name(dir); name; name = g_dir_read_name(dir))
        g_assert_false(g_str_has_prefix(name, "former-"));
    agent_stop(a);
}

/* Killed anywhere in making keys, the agent has none or whole ones. */
static void test_kill(TestAgent *a, gconstpointer data)
{
    const char *many = g_getenv("HMSG_TEST_KILLS");
    unsigned kills = many ? (unsigned)g_ascii_strtoull(many, NULL, 10) : KILLS_DEFAULT;

    agent_start(a, NO_TPM);
    for (unsigned i = 0; i < kills; i++) {
        g_autoptr(GUnixFDList) fds = g_unix_fd_list_new();
        int fd = agent_memfd(PASSWORD);
        GVariantDict options;

        g_variant_dict_init(&options, NULL);
        g_variant_dict_insert(&options, "protection", "s", "software");
        g_variant_dict_insert(&options, "pin", "h", g_unix_fd_list_append(fds, fd, NULL));
        close(fd);
        g_dbus_connection_call_with_unix_fd_list(a->client, AGENT_NAME, AGENT_PATH, IDENTITY, "Create",
                                                 g_variant_new("(@a{sv})", g_variant_dict_end(&options)),
                                                 NULL, G_DBUS_CALL_FLAGS_NONE, -1, fds, NULL, NULL, NULL);
        g_assert_true(g_dbus_connection_flush_sync(a->client, NULL, NULL));
        g_usleep(i % KILLS_DEFAULT * KILL_STEP);
        test_process_signal(a->process, SIGKILL);
        g_assert_true(WIFSIGNALED(test_process_wait(g_steal_pointer(&a->process))));
        agent_start(a, NO_TPM);
        g_autofree char *state = agent_state(a);
        g_autofree char *folder = keys_folder(a);
        g_assert_cmpint(strcmp(state, "none") == 0, ==, folder == NULL);
        if (!folder)
            continue;
        agent_expect_named(unlock(a, PASSWORD), NULL);
        g_autofree char *kid = agent_fact(a, IDENTITY, "Show", "kid");
        g_variant_unref(
            agent_call(a, IDENTITY, "Delete", agent_option("confirm", g_variant_new_string(kid))));
    }
    agent_stop(a);
}

/* Files that were changed, or are of two identities. */
static void test_damage(TestAgent *a, gconstpointer data)
{
    g_autofree char *text = NULL, *other = NULL;

    agent_start(a, NO_TPM);
    agent_expect_named(agent_create_software(a, PASSWORD), NULL);
    g_autofree char *folder = keys_folder(a);
    g_autofree char *sign = g_build_filename(folder, "sign.pem", NULL);
    g_autofree char *decrypt_file = g_build_filename(folder, "decrypt.pem", NULL);
    agent_stop(a);
    g_assert_true(g_file_get_contents(sign, &text, NULL, NULL));
    g_assert_true(g_file_get_contents(decrypt_file, &other, NULL, NULL));
    g_assert_true(g_file_set_contents(sign, other, -1, NULL));
    agent_start(a, NO_TPM);
    agent_expect_state(a, "unavailable");
    agent_stop(a);

    /* the private key of the one, the public key of the other */
    *strstr(other, "-----BEGIN PUBLIC") = 0;
    g_autofree char *mixed = g_strconcat(other, strstr(text, "-----BEGIN PUBLIC"), NULL);
    g_assert_true(g_file_set_contents(sign, mixed, -1, NULL));
    agent_start(a, NO_TPM);
    agent_expect_named(unlock(a, PASSWORD), ERROR("TpmUnavailable"));
    agent_expect_state(a, "locked");
    agent_stop(a);
    g_assert_true(g_file_set_contents(sign, text, -1, NULL));
    agent_start(a, NO_TPM);
    agent_expect_named(unlock(a, PASSWORD), NULL);
    agent_stop(a);
}

int main(int argc, char *argv[])
{
    static const struct {
        const char *path;
        void (*f)(TestAgent *, gconstpointer);
    } tests[] = {
        {"/dbus/software/create", test_create},     {"/dbus/software/wrong", test_wrong},
        {"/dbus/software/password", test_password}, {"/dbus/software/rotate", test_rotate},
        {"/dbus/software/kill", test_kill},         {"/dbus/software/damage", test_damage},
    };

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, TestAgent, NULL, agent_set_up, tests[i].f, agent_tear_down);
    return g_test_run();
}
