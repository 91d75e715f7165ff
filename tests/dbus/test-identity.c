/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/identity-files.h"

#include <glib/gstdio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/stat.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/wire/export.h"
#include "tests/dbus/agent.h"

#define INVALID_ARGS "org.freedesktop.DBus.Error.InvalidArgs"

static void expect_state(TestAgent *a, const char *expected)
{
    g_autofree char *state = agent_state(a);

    g_assert_cmpstr(state, ==, expected);
}

static char *create(TestAgent *a)
{
    g_autoptr(GVariant) reply = agent_call(a, IDENTITY, "Create", NULL);
    g_autoptr(GVariant) facts = g_variant_get_child_value(reply, 0);
    char *kid = NULL;

    g_assert_true(g_variant_lookup(facts, "kid", "s", &kid));
    g_assert_cmpuint(strlen(kid), ==, HASH_TEXT_SIZE - 1);
    return kid;
}

static void expect_kid(TestAgent *a, const char *kid)
{
    g_autofree char *shown = agent_fact(a, IDENTITY, "Show", "kid");

    g_assert_cmpstr(shown, ==, kid);
}

/* The only folder in keys/; to be freed. */
static char *key_folder(TestAgent *a)
{
    g_autofree char *keys = g_build_filename(a->data, "keys", NULL);
    g_autoptr(GDir) dir = g_dir_open(keys, 0, NULL);

    g_assert_nonnull(dir);
    char *path = NULL;
    for (const char *name; (name = g_dir_read_name(dir));) {
        if (g_str_has_prefix(name, ".counter-")) /* one that is about to go */
            continue;
        g_assert_null(path);
        path = g_build_filename(keys, name, NULL);
    }
    return path;
}

static void test_none(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    expect_state(a, "none");
    agent_expect_error(a, IDENTITY, "Show", NULL, ERROR("NoIdentity"));
    agent_expect_error(a, IDENTITY, "Lock", NULL, ERROR("NoIdentity"));
    agent_expect_error(a, IDENTITY, "Unlock", NULL, ERROR("NoIdentity"));
    agent_expect_error(a, IDENTITY, "Delete", NULL, ERROR("NoIdentity"));
    agent_expect_error(a, IDENTITY, "ExportPublic", NULL, ERROR("NoIdentity"));
    agent_expect_error(a, IDENTITY, "Create", agent_option("protection", g_variant_new_string("software")),
                       INVALID_ARGS);
    expect_state(a, "none");
}

static void expect_mode(const char *folder, const char *file, mode_t mode)
{
    g_autofree char *path = g_build_filename(folder, file, NULL);
    GStatBuf st;

    g_assert_cmpint(g_stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 07777, ==, mode);
}

static void test_create(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    g_autofree char *kid = create(a);
    expect_state(a, "ready");
    expect_kid(a, kid);
    agent_expect_error(a, IDENTITY, "Create", NULL, ERROR("AlreadyExists"));
    expect_kid(a, kid);
    g_autofree char *folder = key_folder(a);
    expect_mode(folder, "", 0700);
    expect_mode(folder, "decrypt.pem", 0600);
    expect_mode(folder, "sign.pem", 0600);
    expect_mode(folder, "identity.json", 0600);
    g_autofree char *srk = agent_fact(a, IDENTITY, "Show", "srk_name");
    g_autofree char *name = g_path_get_basename(folder);
    g_assert_true(g_str_has_prefix(srk, name));
}

static KeyFile *exported(TestAgent *a, const char *format)
{
    g_autoptr(GVariant) reply = agent_call(
        a, IDENTITY, "ExportPublic", format ? agent_option("format", g_variant_new_string(format)) : NULL);
    g_autoptr(GVariant) bytes = g_variant_get_child_value(reply, 0);
    gsize n = 0;
    const void *text = g_variant_get_fixed_array(bytes, &n, 1);
    KeyFile *k = NULL;

    g_assert_cmpint(key_file_read(text, n, clock_realtime(), &k), ==, 0);
    return k;
}

static void test_export(TestAgent *a, gconstpointer data)
{
    _cleanup_(key_file_freep) KeyFile *pem = NULL;
    _cleanup_(key_file_freep) KeyFile *jwk = NULL;
    _cleanup_(key_file_freep) KeyFile *identity = NULL;
    uint8_t kid[KID_SIZE];

    agent_start(a, NULL);
    g_autofree char *text = create(a);
    pem = exported(a, "pem");
    jwk = exported(a, "jwk");
    identity = exported(a, NULL);
    g_assert_cmpint(base64url_decode_exact(text, strlen(text), kid, sizeof(kid)), ==, 0);
    g_assert_cmpint(pem->kind, ==, KEY_FILE_PEM);
    g_assert_cmpint(jwk->kind, ==, KEY_FILE_JWK);
    g_assert_cmpint(identity->kind, ==, KEY_FILE_IDENTITY);
    g_assert_cmpmem(rsa_key_thumbprint(pem->decrypt), KID_SIZE, kid, KID_SIZE);
    g_assert_cmpmem(rsa_key_thumbprint(jwk->decrypt), KID_SIZE, kid, KID_SIZE);
    g_assert_cmpmem(rsa_key_thumbprint(identity->decrypt), KID_SIZE, kid, KID_SIZE);
    g_assert_nonnull(identity->sign);
    g_assert_cmpstr(identity->identity.address, ==, ""); /* no mailbox yet */
    agent_expect_error(a, IDENTITY, "ExportPublic", agent_option("format", g_variant_new_string("der")),
                       INVALID_ARGS);
}

static GVariant *csr_options(const char *subject)
{
    GVariantBuilder options;

    g_variant_builder_init(&options, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&options, "{sv}", "format", g_variant_new_string("csr"));
    if (subject)
        g_variant_builder_add(&options, "{sv}", "subject", g_variant_new_string(subject));
    return g_variant_builder_end(&options);
}

/* The TPM has signed it with the sign key. */
static void test_export_csr(TestAgent *a, gconstpointer data)
{
    _cleanup_(rsa_key_freep) RsaKey *key = NULL;
    uint8_t skid[KID_SIZE];

    agent_start(a, NULL);
    g_free(create(a));
    agent_expect_error(a, IDENTITY, "ExportPublic", csr_options(NULL), INVALID_ARGS); /* no address yet */
    agent_expect_error(a, IDENTITY, "ExportPublic", csr_options("a\nb"), INVALID_ARGS);
    agent_expect_error(a, IDENTITY, "ExportPublic", agent_option("subject", g_variant_new_string("Alice")),
                       INVALID_ARGS);
    g_autoptr(GVariant) reply = agent_call(a, IDENTITY, "ExportPublic", csr_options("Alice"));
    g_autoptr(GVariant) bytes = g_variant_get_child_value(reply, 0);
    gsize n = 0;
    const void *text = g_variant_get_fixed_array(bytes, &n, 1);
    BIO *bio = BIO_new_mem_buf(text, (int)n);
    X509_REQ *request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    g_assert_nonnull(request);
    EVP_PKEY *pkey = X509_REQ_get0_pubkey(request);
    g_assert_cmpint(X509_REQ_verify(request, pkey), ==, 1);
    g_assert_cmpint(rsa_key_from_evp(pkey, &key), ==, 0);
    g_autofree char *shown = agent_fact(a, IDENTITY, "Show", "skid");
    g_assert_cmpint(base64url_decode_exact(shown, strlen(shown), skid, sizeof(skid)), ==, 0);
    g_assert_cmpmem(rsa_key_thumbprint(key), KID_SIZE, skid, KID_SIZE);
    X509_REQ_free(request);
    BIO_free(bio);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    agent_expect_error(a, IDENTITY, "ExportPublic", csr_options("Alice"), "org.hmsg.Agent1.Error.Locked");
}

static void test_delete(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    g_autofree char *kid = create(a);
    agent_expect_error(a, IDENTITY, "Delete", NULL, INVALID_ARGS);
    agent_expect_error(a, IDENTITY, "Delete", agent_option("confirm", g_variant_new_string("yes")),
                       INVALID_ARGS);
    expect_kid(a, kid);
    g_variant_unref(agent_call(a, IDENTITY, "Delete", agent_option("confirm", g_variant_new_string(kid))));
    expect_state(a, "none");
    g_autofree char *folder = key_folder(a);
    g_assert_null(folder);
    g_autofree char *next = create(a);
    g_assert_cmpstr(next, !=, kid);
}

static void on_changed(GDBusConnection *c, const char *sender, const char *path, const char *interface,
                       const char *signal, GVariant *parameters, gpointer userdata)
{
    g_autoptr(GVariant) changed = g_variant_get_child_value(parameters, 1);
    const char *state = NULL;

    if (g_variant_lookup(changed, "State", "&s", &state))
        g_ptr_array_add(userdata, g_strdup(state));
}

static bool saw(GPtrArray *states, const char *state)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
    return states->len > 0 && strcmp(states->pdata[states->len - 1], state) == 0;
}

static void test_lock(TestAgent *a, gconstpointer data)
{
    g_autoptr(GPtrArray) states = g_ptr_array_new_with_free_func(g_free);
    guint match = g_dbus_connection_signal_subscribe(a->client, AGENT_NAME, "org.freedesktop.DBus.Properties",
                                                     "PropertiesChanged", AGENT_PATH, IDENTITY,
                                                     G_DBUS_SIGNAL_FLAGS_NONE, on_changed, states, NULL);

    agent_start(a, NULL);
    g_autofree char *kid = create(a);
    TEST_AWAIT(saw(states, "ready"));
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    TEST_AWAIT(saw(states, "locked"));
    expect_state(a, "locked");
    agent_expect_error(a, IDENTITY, "ExportPublic", NULL, ERROR("Locked"));
    g_variant_unref(
        agent_call(a, IDENTITY, "ExportPublic", agent_option("format", g_variant_new_string("pem"))));
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    expect_kid(a, kid);
    g_variant_unref(agent_call(a, IDENTITY, "Unlock", NULL));
    TEST_AWAIT(saw(states, "ready"));
    g_variant_unref(agent_call(a, IDENTITY, "ExportPublic", NULL));
    g_dbus_connection_signal_unsubscribe(a->client, match);
}

/* The agent may not say that it is unlocked when the TPM cannot use the keys. */
static void test_unlock_without_tpm(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    g_autofree char *kid = create(a);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    test_swtpm_stop(a->tpm);
    agent_expect_error(a, IDENTITY, "Unlock", NULL, ERROR("TpmUnavailable"));
    expect_state(a, "locked");
    test_swtpm_start(a->tpm);
    g_variant_unref(agent_call(a, IDENTITY, "Unlock", NULL));
    expect_state(a, "ready");
}

static void test_restart(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    g_autofree char *kid = create(a);
    agent_stop(a);
    agent_start(a, NULL);
    expect_state(a, "ready");
    expect_kid(a, kid);
    g_variant_unref(agent_call(a, IDENTITY, "Unlock", NULL));
}

static void test_tpm_reset(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    g_autofree char *kid = create(a);
    for (unsigned i = 0; i < 3; i++) {
        g_variant_unref(agent_call(a, IDENTITY, "Unlock", NULL));
        test_swtpm_reset(a->tpm);
    }
    g_variant_unref(agent_call(a, IDENTITY, "ExportPublic", NULL));
    expect_state(a, "ready");
    expect_kid(a, kid);
}

static void test_tpm_comes_back(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    g_autofree char *kid = create(a);
    agent_stop(a);
    test_swtpm_stop(a->tpm);
    agent_start(a, NULL);
    expect_state(a, "unavailable");
    expect_kid(a, kid); /* the public facts need no TPM */
    g_autofree char *text = agent_fact(a, AGENT, "GetStatus", "tpm");
    g_assert_cmpstr(text, !=, "ok");
    agent_expect_error(a, IDENTITY, "Create", NULL, ERROR("AlreadyExists"));
    agent_expect_error(a, IDENTITY, "ExportPublic", NULL, ERROR("TpmUnavailable"));
    test_swtpm_start(a->tpm);
    /* by itself */
    g_autofree char *state = NULL;
    TEST_AWAIT((g_free(state), state = agent_state(a), strcmp(state, "ready") == 0));
}

static void test_wrong_tpm(TestAgent *a, gconstpointer data)
{
    g_autofree char *second = g_build_filename(a->folder, "second", NULL);
    TestSwtpm *other;

    agent_start(a, NULL);
    g_autofree char *kid = create(a);
    agent_stop(a);
    g_assert_cmpint(g_mkdir(second, 0700), ==, 0);
    other = test_swtpm_new(second);
    agent_start(a, test_swtpm_tcti(other));
    expect_state(a, "unavailable");
    expect_kid(a, kid);
    agent_expect_error(a, IDENTITY, "Create", NULL, ERROR("AlreadyExists"));
    g_autofree char *message = NULL;
    g_autofree char *name = agent_call_error(a, IDENTITY, "Unlock", NULL, &message);
    g_assert_cmpstr(name, ==, ERROR("TpmUnavailable"));
    g_assert_nonnull(strstr(message, "another"));
    agent_stop(a);
    /* nothing has happened to the keys */
    agent_start(a, NULL);
    expect_state(a, "ready");
    expect_kid(a, kid);
    g_variant_unref(agent_call(a, IDENTITY, "Unlock", NULL));
    agent_stop(a);
    /* the way out is an explicit one */
    agent_start(a, test_swtpm_tcti(other));
    g_variant_unref(agent_call(a, IDENTITY, "Delete", agent_option("confirm", g_variant_new_string(kid))));
    g_autofree char *next = create(a);
    expect_state(a, "ready");
    agent_stop(a);
    test_swtpm_free(other);
}

/* As another machine would have written it. */
static void replace_machine(const char *folder)
{
    g_autofree char *path = g_build_filename(folder, "identity.json", NULL);
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    char *machine = strstr(text, "\"machine\":\"");
    g_assert_nonnull(machine);
    machine += strlen("\"machine\":\"");
    char *end = strchr(machine, '"');
    g_assert_nonnull(end);
    *machine = 0;
    g_autofree char *other = g_strconcat(text, "00000000000000000000000000000001", end, NULL);
    g_assert_true(g_file_set_contents(path, other, -1, NULL));
}

static void test_two_machines(TestAgent *a, gconstpointer data)
{
    g_autofree char *second = g_build_filename(a->folder, "second", NULL);
    char machine[MACHINE_TEXT_SIZE];
    TestSwtpm *other;

    identity_machine(machine);
    if (!*machine) {
        g_test_skip("this machine has no /etc/machine-id");
        return;
    }
    agent_start(a, NULL);
    g_autofree char *kid = create(a);
    agent_stop(a);
    g_autofree char *folder = key_folder(a);
    replace_machine(folder);
    g_assert_cmpint(g_mkdir(second, 0700), ==, 0);
    other = test_swtpm_new(second);
    agent_start(a, test_swtpm_tcti(other));
    expect_state(a, "none");
    g_autofree char *next = create(a);
    g_assert_cmpstr(next, !=, kid);
    agent_stop(a);
    agent_start(a, NULL);
    expect_state(a, "ready");
    expect_kid(a, kid);
    agent_stop(a);
    agent_start(a, test_swtpm_tcti(other));
    expect_state(a, "ready");
    expect_kid(a, next);
    agent_stop(a);
    test_swtpm_free(other);
}

static void test_damaged(TestAgent *a, gconstpointer data)
{
    static const char *const files[] = {"decrypt.pem", "sign.pem", "identity.json"};

    agent_start(a, NULL);
    g_autofree char *kid = create(a);
    agent_stop(a);
    g_autofree char *folder = key_folder(a);
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_build_filename(folder, files[i], NULL);
        g_autofree char *text = NULL;
        gsize n = 0;

        g_assert_true(g_file_get_contents(path, &text, &n, NULL));
        g_assert_true(g_file_set_contents(path, text, (gssize)n / 2, NULL));
        agent_start(a, NULL);
        expect_state(a, "unavailable");
        agent_expect_error(a, IDENTITY, "Create", NULL, ERROR("AlreadyExists"));
        agent_expect_error(a, IDENTITY, "Unlock", NULL, ERROR("TpmUnavailable"));
        agent_stop(a);
        g_assert_true(g_file_set_contents(path, text, (gssize)n, NULL));
    }
    agent_start(a, NULL);
    expect_state(a, "ready");
    expect_kid(a, kid);
}

static void add(const char *path, void (*f)(TestAgent *, gconstpointer))
{
    g_test_add(path, TestAgent, NULL, agent_set_up, f, agent_tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!test_swtpm_available()) {
        g_print("1..0 # SKIP swtpm is not installed\n");
        return 0;
    }
    add("/dbus/identity/none", test_none);
    add("/dbus/identity/create", test_create);
    add("/dbus/identity/export", test_export);
    add("/dbus/identity/export-csr", test_export_csr);
    add("/dbus/identity/delete", test_delete);
    add("/dbus/identity/lock", test_lock);
    add("/dbus/identity/unlock-without-tpm", test_unlock_without_tpm);
    add("/dbus/identity/restart", test_restart);
    add("/dbus/identity/tpm-reset", test_tpm_reset);
    add("/dbus/identity/tpm-comes-back", test_tpm_comes_back);
    add("/dbus/identity/wrong-tpm", test_wrong_tpm);
    add("/dbus/identity/two-machines", test_two_machines);
    add("/dbus/identity/damaged", test_damaged);
    return g_test_run();
}
