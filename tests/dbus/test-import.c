/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A private key that was there before becomes the identity. */

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/dbus/cipher.h"
#include "tests/lib/pem.h"

#define INVALID_ARGS "org.freedesktop.DBus.Error.InvalidArgs"
#define PASSWORD "the password of the file"
#define KILLS 6u
#define KILL_STEP 25000u /* µs; an import takes about a tenth of a second with a TPM in software */

/* "text", unsigned, encrypted to a key that nobody here has yet. */
static GByteArray *package_to(TestAgent *a, EVP_PKEY *key)
{
    g_autofree char *pem = test_public_pem(key);
    GVariant *keys[] = {cipher_bytes(pem, strlen(pem))};
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    g_variant_dict_insert_value(&options, "recipient_keys",
                                g_variant_new_array(G_VARIANT_TYPE("ay"), keys, 1));
    g_variant_dict_insert(&options, "sign", "b", FALSE);
    g_autoptr(GVariant) reply = cipher_call(
        a, "Encrypt",
        g_variant_new("(as@ay@a{sv})", NULL, cipher_bytes("text", 4), g_variant_dict_end(&options)), NULL,
        NULL, NULL);
    g_autoptr(GVariant) packages = g_variant_get_child_value(reply, 0);
    g_autoptr(GVariant) package = g_variant_get_child_value(packages, 0);
    return cipher_array(package);
}

static void expect_readable(TestAgent *a, const GByteArray *p)
{
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    g_variant_dict_insert(&options, "allow_unknown", "b", TRUE);
    g_autoptr(GVariant) reply =
        cipher_call(a, "Decrypt",
                    g_variant_new("(@ay@a{sv})", cipher_bytes(p->data, p->len), g_variant_dict_end(&options)),
                    NULL, NULL, NULL);
    g_autoptr(GVariant) bytes = g_variant_get_child_value(reply, 0);
    g_autoptr(GByteArray) text = cipher_array(bytes);
    g_assert_cmpmem(text->data, text->len, "text", 4);
}

typedef struct Import {
    const char *key, *sign_key, *password, *pin, *generation; /* NULL: none */
} Import;

static void add_fd(GVariantDict *options, GUnixFDList *fds, const char *name, const char *text)
{
    g_autoptr(GError) error = NULL;
    int fd;

    if (!text)
        return;
    fd = agent_memfd(text);
    g_variant_dict_insert(options, name, "h", g_unix_fd_list_append(fds, fd, &error));
    g_assert_no_error(error);
    close(fd);
}

/* The name of the error, to be freed; NULL: it was imported. */
static char *import_why(TestAgent *a, Import import, char **ret_why)
{
    g_autoptr(GUnixFDList) fds = g_unix_fd_list_new();
    g_autoptr(GError) error = NULL;
    GVariantDict options;
    int fd = agent_memfd(import.key);

    g_assert_cmpint(g_unix_fd_list_append(fds, fd, NULL), ==, 0);
    close(fd);
    g_variant_dict_init(&options, NULL);
    add_fd(&options, fds, "sign_key", import.sign_key);
    add_fd(&options, fds, "password", import.password);
    add_fd(&options, fds, "pin", import.pin);
    if (import.generation)
        g_variant_dict_insert(&options, "generation", "s", import.generation);
    g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_sync(
        a->client, AGENT_NAME, AGENT_PATH, IDENTITY, "Import",
        g_variant_new("(h@a{sv})", 0, g_variant_dict_end(&options)), NULL, G_DBUS_CALL_FLAGS_NONE,
        TEST_AWAIT_SECONDS * 1000, fds, NULL, NULL, &error);
    if (reply)
        return NULL;
    char *name = g_dbus_error_get_remote_error(error);
    (void)g_dbus_error_strip_remote_error(error);
    if (ret_why)
        *ret_why = g_strdup(error->message);
    return name;
}

static void expect_refused(TestAgent *a, Import import, const char *name, const char *why)
{
    g_autofree char *said = NULL;

    agent_expect_named(import_why(a, import, &said), name);
    if (!strstr(said, why))
        g_error("\"%s\" does not say \"%s\"", said, why);
    agent_expect_state(a, "none");
}

static void expect_fact(TestAgent *a, const char *key, const char *expected)
{
    g_autofree char *value = agent_fact(a, IDENTITY, "Show", key);

    g_assert_cmpstr(value, ==, expected);
}

static void expect_key(TestAgent *a, EVP_PKEY *key)
{
    g_autofree char *pem = test_public_pem(key);
    g_autoptr(GByteArray) got = cipher_public_key(a);

    g_assert_cmpmem(got->data, got->len, pem, strlen(pem));
}

static void test_import(TestAgent *a, gconstpointer data)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    g_autofree char *pem = test_private_pem(key, NULL);

    agent_start(a, NULL);
    g_autoptr(GByteArray) before = package_to(a, key);
    agent_expect_named(import_why(a, (Import){.key = pem}, NULL), NULL);
    agent_expect_state(a, "ready");
    expect_fact(a, "protection", "imported");
    expect_key(a, key);
    expect_readable(a, before);
    agent_expect_named(import_why(a, (Import){.key = pem}, NULL), ERROR("AlreadyExists"));
    agent_stop(a);
    agent_start(a, NULL);
    expect_fact(a, "protection", "imported");
    expect_readable(a, before);
    g_variant_unref(agent_call(a, IDENTITY, "Rotate", NULL)); /* the TPM makes those that follow */
    expect_fact(a, "protection", "tpm");
    expect_readable(a, before);
    g_variant_unref(agent_call(a, IDENTITY, "Rotate", agent_option("grace", g_variant_new_uint64(0))));
    expect_fact(a, "protection", "tpm");
    agent_stop(a);
    EVP_PKEY_free(key);
}

static void test_encrypted(TestAgent *a, gconstpointer data)
{
    EVP_PKEY *key = EVP_RSA_gen(2048), *sign_key = EVP_RSA_gen(2048);
    g_autofree char *pem = test_private_pem(key, PASSWORD), *sign = test_private_pem(sign_key, PASSWORD);

    agent_start(a, NULL);
    g_autoptr(GByteArray) before = package_to(a, key);
    expect_refused(a, (Import){.key = pem}, ERROR("Locked"), "password is needed");
    expect_refused(a, (Import){.key = pem, .password = "another"}, ERROR("Locked"), "wrong");
    agent_expect_named(
        import_why(
            a,
            (Import){.key = pem, .sign_key = sign, .password = PASSWORD, .pin = "2580", .generation = "none"},
            NULL),
        NULL);
    expect_readable(a, before);
    agent_stop(a);
    agent_start(a, NULL);
    agent_expect_state(a, "locked");
    agent_expect_named(agent_call_with_fd(a, "Unlock", agent_memfd("2581")), ERROR("Locked"));
    agent_expect_named(agent_call_with_fd(a, "Unlock", agent_memfd("2580")), NULL);
    expect_readable(a, before);
    expect_fact(a, "protection", "imported");
    agent_stop(a);
    EVP_PKEY_free(key);
    EVP_PKEY_free(sign_key);
}

static void test_refused(TestAgent *a, gconstpointer data)
{
    static const unsigned sizes[] = {1024, 3072};
    EVP_PKEY *key = EVP_RSA_gen(2048);
    g_autofree char *pem = test_private_pem(key, NULL);

    agent_start(a, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        EVP_PKEY *other = EVP_RSA_gen(sizes[i]);
        g_autofree char *text = test_private_pem(other, NULL), *why = g_strdup_printf("%u bits", sizes[i]);

        expect_refused(a, (Import){.key = text}, INVALID_ARGS, why);
        expect_refused(a, (Import){.key = pem, .sign_key = text}, INVALID_ARGS, why);
        EVP_PKEY_free(other);
    }
    expect_refused(a, (Import){.key = "no key"}, INVALID_ARGS, "not one private key");
    expect_refused(a, (Import){.key = pem, .sign_key = pem}, INVALID_ARGS, "another one");
    expect_refused(a, (Import){.key = pem, .generation = "two"}, INVALID_ARGS, "generation");
    expect_refused(a, (Import){.key = pem, .pin = "12"}, INVALID_ARGS, "PIN");
    expect_refused(a, (Import){.key = ""}, INVALID_ARGS, "memfd");
    agent_stop(a);
    EVP_PKEY_free(key);
}

/* A key that tpm2-openssl had a TPM make; NULL: it is not installed. */
static char *tpm_pem(TestAgent *a, TestSwtpm *tpm, EVP_PKEY **ret_public)
{
    g_autofree char *path = g_build_filename(a->folder, "tpm.pem", NULL), *err = NULL, *public = NULL;
    g_auto(GStrv) environment =
        g_environ_setenv(g_get_environ(), "TPM2OPENSSL_TCTI", test_swtpm_tcti(tpm), TRUE);
    const char *const make[] = {"openssl", "genpkey",    "-provider", "tpm2",     "-provider",
                                "default", "-algorithm", "RSA",       "-pkeyopt", "bits:2048",
                                "-out",    path,         NULL};
    const char *const read[] = {"openssl", "pkey", "-provider", "tpm2",    "-provider",
                                "default", "-in",  path,        "-pubout", NULL};
    char *text = NULL;

    if (test_run(make, (const char *const *)environment, NULL, NULL, &err) != 0) {
        g_test_message("%s", err);
        return NULL;
    }
    g_assert_cmpint(test_run(read, (const char *const *)environment, NULL, &public, NULL), ==, 0);
    BIO *bio = BIO_new_mem_buf(public, -1);
    *ret_public = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    BIO_free(bio);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

static char *set_pin(TestAgent *a, const char *pin, bool keep_key)
{
    g_autoptr(GUnixFDList) fds = g_unix_fd_list_new();
    g_autoptr(GError) error = NULL;
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    add_fd(&options, fds, "new_pin", pin);
    g_variant_dict_insert(&options, "keep_key", "b", keep_key);
    g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_sync(
        a->client, AGENT_NAME, AGENT_PATH, IDENTITY, "SetPin",
        g_variant_new("(@a{sv})", g_variant_dict_end(&options)), NULL, G_DBUS_CALL_FLAGS_NONE,
        TEST_AWAIT_SECONDS * 1000, fds, NULL, NULL, &error);
    return reply ? NULL : g_dbus_error_get_remote_error(error);
}

static void test_tpm_key(TestAgent *a, gconstpointer data)
{
    g_autoptr(TestSwtpm) other = test_swtpm_new(NULL);
    EVP_PKEY *key = NULL, *of_other = NULL;
    g_autofree char *pem = tpm_pem(a, a->tpm, &key), *foreign = tpm_pem(a, other, &of_other);

    if (!pem || !foreign) {
        g_test_skip("tpm2-openssl is not installed");
        return;
    }
    agent_start(a, NULL);
    g_autoptr(GByteArray) before = package_to(a, key);
    expect_refused(a, (Import){.key = pem}, INVALID_ARGS, "no counter");
    expect_refused(a, (Import){.key = pem, .pin = "2580", .generation = "none"}, INVALID_ARGS, "no PIN");
    expect_refused(a, (Import){.key = foreign, .generation = "none"}, ERROR("TpmUnavailable"),
                   "another TPM made it");
    g_autofree char *cut = g_strdup(pem);
    strstr(cut, "\n")[9] ^= 1;
    expect_refused(a, (Import){.key = cut, .generation = "none"}, INVALID_ARGS, "tpm2-openssl");
    agent_expect_named(import_why(a, (Import){.key = pem, .generation = "none"}, NULL), NULL);
    expect_key(a, key);
    expect_fact(a, "protection", "imported");
    expect_readable(a, before);
    agent_stop(a);
    agent_start(a, NULL);
    agent_expect_state(a, "ready");
    expect_readable(a, before);
    agent_expect_named(set_pin(a, "2580", true), ERROR("Denied"));
    agent_expect_named(set_pin(a, "2580", false), NULL); /* of new keys; the former one stays without */
    expect_fact(a, "protection", "tpm");
    expect_readable(a, before);
    agent_stop(a);
    EVP_PKEY_free(key);
    EVP_PKEY_free(of_other);
}

/* Killed anywhere, the agent has the key or none; then it can be imported once more. */
static void test_kill(TestAgent *a, gconstpointer data)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    g_autofree char *pem = test_private_pem(key, NULL);

    agent_start(a, NULL);
    g_autoptr(GByteArray) before = package_to(a, key);
    for (unsigned i = 0; i < KILLS; i++) {
        g_autoptr(GUnixFDList) fds = g_unix_fd_list_new();
        int fd = agent_memfd(pem);

        g_assert_cmpint(g_unix_fd_list_append(fds, fd, NULL), ==, 0);
        close(fd);
        g_dbus_connection_call_with_unix_fd_list(a->client, AGENT_NAME, AGENT_PATH, IDENTITY, "Import",
                                                 g_variant_new("(ha{sv})", 0, NULL), NULL,
                                                 G_DBUS_CALL_FLAGS_NONE, -1, fds, NULL, NULL, NULL);
        g_assert_true(g_dbus_connection_flush_sync(a->client, NULL, NULL));
        g_usleep(i * KILL_STEP);
        test_process_signal(a->process, SIGKILL);
        g_assert_true(WIFSIGNALED(test_process_wait(g_steal_pointer(&a->process))));
        test_swtpm_reset(a->tpm); /* what it held for the agent is gone */
        agent_start(a, NULL);
        g_autofree char *state = agent_state(a);
        if (strcmp(state, "none") == 0)
            continue;
        g_assert_cmpstr(state, ==, "ready");
        expect_readable(a, before);
        g_autofree char *kid = agent_fact(a, IDENTITY, "Show", "kid");
        g_variant_unref(
            agent_call(a, IDENTITY, "Delete", agent_option("confirm", g_variant_new_string(kid))));
    }
    agent_expect_named(import_why(a, (Import){.key = pem}, NULL), NULL);
    expect_readable(a, before);
    agent_stop(a);
    EVP_PKEY_free(key);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dbus/import/import", TestAgent, NULL, agent_set_up, test_import, agent_tear_down);
    g_test_add("/dbus/import/encrypted", TestAgent, NULL, agent_set_up, test_encrypted, agent_tear_down);
    g_test_add("/dbus/import/refused", TestAgent, NULL, agent_set_up, test_refused, agent_tear_down);
    g_test_add("/dbus/import/tpm-key", TestAgent, NULL, agent_set_up, test_tpm_key, agent_tear_down);
    g_test_add("/dbus/import/kill", TestAgent, NULL, agent_set_up, test_kill, agent_tear_down);
    return g_test_run();
}
