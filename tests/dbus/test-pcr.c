/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys that are bound to PCRs: another start of the machine, and its approval. */

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#include "tests/dbus/cipher.h"
#include "tests/lib/pem.h"
#include "tests/unit/tpm/direct.h"

#define INVALID_ARGS "org.freedesktop.DBus.Error.InvalidArgs"
#define PASSWORD "the password of the file"

/* index: of the memfd in the call. */
static void add_fd(GUnixFDList *fds, const char *text)
{
    int fd = agent_memfd(text);

    g_assert_cmpint(g_unix_fd_list_append(fds, fd, NULL), >=, 0);
    close(fd);
}

static char *call(TestAgent *a, const char *method, GVariant *arguments, GUnixFDList *fds, char **ret_why)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_sync(
        a->client, AGENT_NAME, AGENT_PATH, IDENTITY, method, arguments, NULL, G_DBUS_CALL_FLAGS_NONE,
        TEST_AWAIT_SECONDS * 1000, fds, NULL, NULL, &error);

    if (reply)
        return NULL;
    char *name = g_dbus_error_get_remote_error(error);
    (void)g_dbus_error_strip_remote_error(error);
    if (ret_why)
        *ret_why = g_strdup(error->message);
    return name;
}

/* pin: NULL for none. */
static char *create(TestAgent *a, const char *pcrs, const char *key, const char *pin, const char *generation)
{
    g_autoptr(GUnixFDList) fds = g_unix_fd_list_new();
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    g_variant_dict_insert(&options, "pcrs", "s", pcrs);
    if (key) {
        add_fd(fds, key);
        g_variant_dict_insert(&options, "policy_key", "h", 0);
    }
    if (pin) {
        add_fd(fds, pin);
        g_variant_dict_insert(&options, "pin", "h", 1);
    }
    if (generation)
        g_variant_dict_insert(&options, "generation", "s", generation);
    return call(a, "Create", g_variant_new("(@a{sv})", g_variant_dict_end(&options)), fds, NULL);
}

/* policy: NULL for none. */
static char *import(TestAgent *a, const char *key, const char *pcrs, const char *policy, const char *password,
                    const char *generation)
{
    g_autoptr(GUnixFDList) fds = g_unix_fd_list_new();
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    add_fd(fds, key);
    g_variant_dict_insert(&options, "pcrs", "s", pcrs);
    if (policy) {
        add_fd(fds, policy);
        add_fd(fds, password);
        g_variant_dict_insert(&options, "policy_key", "h", 1);
        g_variant_dict_insert(&options, "policy_password", "h", 2);
    }
    if (generation)
        g_variant_dict_insert(&options, "generation", "s", generation);
    return call(a, "Import", g_variant_new("(h@a{sv})", 0, g_variant_dict_end(&options)), fds, NULL);
}

static char *approve_values(TestAgent *a, const char *key, const char *values)
{
    g_autoptr(GUnixFDList) fds = g_unix_fd_list_new();

    add_fd(fds, key);
    return call(a, "Approve",
                g_variant_new("(h@a{sv})", 0, agent_option("values", g_variant_new_string(values))), fds,
                NULL);
}

static char *approve(TestAgent *a, const char *key, const char *password, char **ret_why)
{
    g_autoptr(GUnixFDList) fds = g_unix_fd_list_new();
    GVariantDict options;

    add_fd(fds, key);
    g_variant_dict_init(&options, NULL);
    if (password) {
        add_fd(fds, password);
        g_variant_dict_insert(&options, "password", "h", 1);
    }
    return call(a, "Approve", g_variant_new("(h@a{sv})", 0, g_variant_dict_end(&options)), fds, ret_why);
}

/* The name of the error, to be freed; NULL: it decrypts. */
static char *decrypt(TestAgent *a, const GByteArray *p, char **ret_why)
{
    g_autofree char *why = NULL;
    char *name = NULL;
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    g_variant_dict_insert(&options, "allow_unknown", "b", TRUE);
    g_autoptr(GVariant) reply =
        cipher_call(a, "Decrypt",
                    g_variant_new("(@ay@a{sv})", cipher_bytes(p->data, p->len), g_variant_dict_end(&options)),
                    NULL, &name, &why);
    if (why)
        g_test_message("decrypt: %s", why);
    if (ret_why)
        *ret_why = g_strdup(why);
    return name;
}

/* By keys that cannot sign yet. */
static GByteArray *unsigned_package(TestAgent *a)
{
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    g_variant_dict_insert(&options, "sign", "b", FALSE);
    g_autoptr(GVariant) reply = cipher_call(
        a, "Encrypt",
        g_variant_new("(as@ay@a{sv})", NULL, cipher_bytes("text", 4), cipher_to_self(a, &options)), NULL,
        NULL, NULL);
    g_autoptr(GVariant) packages = g_variant_get_child_value(reply, 0);
    g_autoptr(GVariant) package = g_variant_get_child_value(packages, 0);
    return cipher_array(package);
}

static void expect_refused(TestAgent *a, const GByteArray *p, const char *why)
{
    g_autofree char *said = NULL;

    agent_expect_named(decrypt(a, p, &said), ERROR("TpmUnavailable"));
    if (!strstr(said, why))
        g_error("\"%s\" does not say \"%s\"", said, why);
}

/* As another firmware would. The agent starts anew. */
static void boot_otherwise(TestAgent *a, ESYS_TR pcr)
{
    TPML_DIGEST_VALUES what = {.count = 1, .digests[0].hashAlg = TPM2_ALG_SHA256};
    Direct d;

    agent_stop(a); /* the TPM serves one at a time */
    memset(what.digests[0].digest.sha256, 'x', 32);
    direct_open(&d, test_swtpm_tcti(a->tpm));
    g_assert_true(Esys_PCR_Extend(d.esys, pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &what) ==
                  TSS2_RC_SUCCESS);
    direct_close(&d);
    agent_start(a, NULL);
}

static void test_approve(TestAgent *a, gconstpointer data)
{
    EVP_PKEY *key = EVP_RSA_gen(2048), *other = EVP_RSA_gen(2048);
    g_autofree char *pem = test_private_pem(key, NULL), *encrypted = test_private_pem(key, PASSWORD);
    g_autofree char *wrong = test_private_pem(other, NULL), *why = NULL;

    agent_start(a, NULL);
    agent_expect_named(approve(a, pem, NULL, NULL), ERROR("NoIdentity"));
    agent_expect_named(create(a, "7,11", pem, NULL, NULL), NULL);
    g_autofree char *pcrs = agent_fact(a, IDENTITY, "Show", "pcrs");
    g_assert_cmpstr(pcrs, ==, "7,11");
    g_autoptr(GByteArray) p = cipher_package(a);
    agent_expect_named(decrypt(a, p, NULL), NULL);
    boot_otherwise(a, ESYS_TR_PCR0);
    agent_expect_named(decrypt(a, p, NULL), NULL);
    boot_otherwise(a, ESYS_TR_PCR11);
    expect_refused(a, p, "PCR 11");
    expect_refused(a, p, "identity approve");
    agent_expect_named(approve(a, wrong, NULL, &why), ERROR("Denied"));
    g_assert_nonnull(strstr(why, "not the policy key"));
    agent_expect_named(approve(a, "no key", NULL, NULL), INVALID_ARGS);
    agent_expect_named(approve(a, encrypted, "another", NULL), ERROR("Locked"));
    expect_refused(a, p, "PCR 11");
    agent_expect_named(approve(a, encrypted, PASSWORD, NULL), NULL);
    agent_expect_named(decrypt(a, p, NULL), NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Rotate", NULL));
    g_autoptr(GByteArray) next = cipher_package(a);
    boot_otherwise(a, ESYS_TR_PCR7);
    expect_refused(a, p, "PCR 7");
    expect_refused(a, next, "PCR 7");
    agent_expect_named(approve(a, pem, NULL, NULL), NULL);
    agent_expect_named(decrypt(a, p, NULL), NULL);
    agent_expect_named(decrypt(a, next, NULL), NULL);
    agent_stop(a);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

/* What the policy key on another machine has to sign; *ret_values to be freed. */
static GBytes *to_approve(TestAgent *a, const char *values, char **ret_values)
{
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    if (values)
        g_variant_dict_insert(&options, "values", "s", values);
    g_autoptr(GVariant) reply =
        g_dbus_connection_call_sync(a->client, AGENT_NAME, AGENT_PATH, IDENTITY, "ToApprove",
                                    g_variant_new("(@a{sv})", g_variant_dict_end(&options)), NULL,
                                    G_DBUS_CALL_FLAGS_NONE, TEST_AWAIT_SECONDS * 1000, NULL, NULL);
    g_assert_nonnull(reply);
    g_autoptr(GVariant) message = g_variant_get_child_value(reply, 0);
    g_autoptr(GVariant) info = g_variant_get_child_value(reply, 1);
    g_assert_true(g_variant_lookup(info, "values", "s", ret_values));
    return g_variant_get_data_as_bytes(message);
}

/* As the man page says it: by openssl(1). To be freed. */
static GBytes *sign_elsewhere(TestAgent *a, const char *pem, GBytes *message, const char *salt)
{
    g_autofree char *key = g_build_filename(a->folder, "policy.pem", NULL);
    g_autofree char *file = g_build_filename(a->folder, "to-sign", NULL);
    g_autofree char *signature = g_build_filename(a->folder, "signature", NULL);
    g_autofree char *salt_option = g_strconcat("rsa_pss_saltlen:", salt, NULL), *err = NULL, *bytes = NULL;
    const char *const words[] = {"openssl", "dgst",      "-sha256", "-sigopt", "rsa_padding_mode:pss",
                                 "-sigopt", salt_option, "-sign",   key,       "-out",
                                 signature, file,        NULL};
    gsize size = 0;

    g_assert_true(g_file_set_contents(key, pem, -1, NULL));
    g_assert_true(
        g_file_set_contents(file, g_bytes_get_data(message, NULL), (gssize)g_bytes_get_size(message), NULL));
    if (test_run(words, NULL, NULL, NULL, &err) != 0)
        g_error("openssl: %s", err);
    g_assert_true(g_file_get_contents(signature, &bytes, &size, NULL));
    return g_bytes_new(bytes, size);
}

static char *approve_signed(TestAgent *a, GBytes *signature, const char *values)
{
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    if (values)
        g_variant_dict_insert(&options, "values", "s", values);
    g_autoptr(GVariant) bytes = g_variant_ref_sink(
        cipher_bytes(g_bytes_get_data(signature, NULL), (guint)g_bytes_get_size(signature)));
    return call(a, "ApproveSigned", g_variant_new("(@ay@a{sv})", bytes, g_variant_dict_end(&options)), NULL,
                NULL);
}

/* What PCR 7 is after "x" was extended into value, in place. */
static void extend(uint8_t value[static 32])
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    uint8_t x[32];
    gsize size = 32;

    memset(x, 'x', sizeof(x));
    g_checksum_update(sum, value, 32);
    g_checksum_update(sum, x, sizeof(x));
    g_checksum_get_digest(sum, value, &size);
}

static char *hex_of(const uint8_t value[static 32])
{
    GString *s = g_string_new("7=");

    for (unsigned i = 0; i < 32; i++)
        g_string_append_printf(s, i % 2 == 0 ? "%02x" : "%02X", value[i]);
    return g_string_free(s, FALSE);
}

/* Before the machine starts otherwise: by the policy key here, for one PCR of two. */
static void test_predicted(TestAgent *a, gconstpointer data)
{
    static const char *const wrong[] = {"", "7", "7=", "7=00", "=00", "24=00", "7=00,", "x"};
    EVP_PKEY *key = EVP_RSA_gen(2048);
    g_autofree char *pem = test_private_pem(key, NULL);
    uint8_t value[32] = {0};

    agent_start(a, NULL);
    agent_expect_named(create(a, "7,11", pem, NULL, NULL), NULL);
    g_autoptr(GByteArray) p = cipher_package(a);
    extend(value);
    g_autofree char *next = hex_of(value), *twice = g_strconcat(next, ",", next, NULL);
    g_autofree char *more = g_strconcat(next, "0", NULL);
    g_autofree char *order = g_strdup_printf("11%s,%s", next + 1, next),
                    *other = g_strdup_printf("8%s", next + 1);
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
        agent_expect_named(approve_values(a, pem, wrong[i]), INVALID_ARGS);
    agent_expect_named(approve_values(a, pem, twice), INVALID_ARGS);
    agent_expect_named(approve_values(a, pem, more), INVALID_ARGS);
    agent_expect_named(approve_values(a, pem, order), INVALID_ARGS);
    agent_expect_named(approve_values(a, pem, other), INVALID_ARGS); /* they are not bound to it */
    agent_expect_named(approve_values(a, pem, next), NULL);
    agent_expect_named(decrypt(a, p, NULL), NULL); /* what was approved before stays */
    boot_otherwise(a, ESYS_TR_PCR7);
    agent_expect_named(decrypt(a, p, NULL), NULL);
    boot_otherwise(a, ESYS_TR_PCR7);
    expect_refused(a, p, "PCR 7");
    agent_stop(a);
    EVP_PKEY_free(key);
}

/* The policy key never comes here, not even when the keys are made. */
static void test_elsewhere(TestAgent *a, gconstpointer data)
{
    EVP_PKEY *key = EVP_RSA_gen(2048), *other = EVP_RSA_gen(2048), *small = EVP_RSA_gen(3072);
    g_autofree char *pem = test_private_pem(key, NULL), *wrong = test_private_pem(other, NULL);
    g_autofree char *public = test_public_pem(key), *too_large = test_public_pem(small);
    g_autofree char *now = NULL, *then = NULL, *said = NULL, *again = NULL;
    uint8_t value[32] = {0};

    agent_start(a, NULL);
    agent_expect_named(create(a, "7", too_large, NULL, NULL), INVALID_ARGS);
    agent_expect_named(create(a, "7", public, NULL, NULL), NULL);
    agent_expect_named(approve(a, public, NULL, NULL), INVALID_ARGS);
    g_autoptr(GByteArray) p = unsigned_package(a);
    expect_refused(a, p, "nothing was approved");
    g_autoptr(GBytes) message = to_approve(a, NULL, &now);
    g_assert_cmpuint(g_bytes_get_size(message), ==, 32);
    g_autoptr(GBytes) signature = sign_elsewhere(a, pem, message, "32");
    g_autoptr(GBytes) forged = sign_elsewhere(a, wrong, message, "32");
    g_autoptr(GBytes) salted = sign_elsewhere(a, pem, message, "20");
    agent_expect_named(approve_signed(a, forged, NULL), ERROR("Denied"));
    agent_expect_named(approve_signed(a, salted, NULL), ERROR("Denied"));
    agent_expect_named(approve_signed(a, message, NULL), INVALID_ARGS);
    expect_refused(a, p, "nothing was approved");
    agent_expect_named(approve_signed(a, signature, NULL), NULL);
    agent_expect_named(decrypt(a, p, NULL), NULL);
    /* for the next start, and when the PCRs are others than they were for what was signed */
    extend(value);
    g_autofree char *next = hex_of(value);
    g_autoptr(GBytes) message_next = to_approve(a, next, &then);
    g_assert_cmpint(g_ascii_strcasecmp(then, next), ==, 0);
    g_autoptr(GBytes) signature_next = sign_elsewhere(a, pem, message_next, "32");
    agent_expect_named(approve_signed(a, signature_next, NULL), ERROR("Denied"));
    boot_otherwise(a, ESYS_TR_PCR7);
    expect_refused(a, p, "PCR 7");
    agent_expect_named(approve_signed(a, signature, NULL), ERROR("Denied"));
    agent_expect_named(approve_signed(a, signature, now), NULL);
    expect_refused(a, p, "PCR 7");
    agent_expect_named(approve_signed(a, signature_next, then), NULL);
    agent_expect_named(decrypt(a, p, NULL), NULL);
    agent_stop(a);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    EVP_PKEY_free(small);
}

/* With a PIN the TPM counts no try while the PCRs are wrong. */
static void test_pin(TestAgent *a, gconstpointer data)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    g_autofree char *pem = test_private_pem(key, NULL);

    agent_start(a, NULL);
    agent_expect_named(create(a, "7", pem, "2580", NULL), NULL);
    g_autoptr(GByteArray) p = cipher_package(a);
    boot_otherwise(a, ESYS_TR_PCR7);
    for (unsigned i = 0; i < 5; i++) /* more than there are wrong ones until a lockout */
        agent_expect_named(agent_call_with_fd(a, "Unlock", agent_memfd("2580")), ERROR("TpmUnavailable"));
    agent_expect_named(approve(a, pem, NULL, NULL), NULL);
    agent_expect_named(agent_call_with_fd(a, "Unlock", agent_memfd("2580")), NULL);
    agent_expect_named(decrypt(a, p, NULL), NULL);
    agent_stop(a);
    EVP_PKEY_free(key);
}

/* Who can write to the data folder cannot approve. */
static void test_forged(TestAgent *a, gconstpointer data)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    g_autofree char *pem = test_private_pem(key, NULL), *text = NULL;
    g_autofree char *keys = g_build_filename(a->data, "keys", NULL);

    agent_start(a, NULL);
    agent_expect_named(create(a, "7", pem, NULL, NULL), NULL);
    g_autoptr(GByteArray) p = cipher_package(a);
    boot_otherwise(a, ESYS_TR_PCR7);
    agent_stop(a);
    g_autoptr(GDir) folder = g_dir_open(keys, 0, NULL);
    g_autofree char *file = g_build_filename(keys, g_dir_read_name(folder), "identity.json", NULL);
    g_assert_true(g_file_get_contents(file, &text, NULL, NULL));
    char *signature = strstr(text, "\"signature\":\"");
    g_assert_nonnull(signature);
    signature[20] = signature[20] == 'A' ? 'B' : 'A';
    /* the values as they are now: of PCR 7 after "x" was extended into zeros */
    uint8_t extended[64] = {0};
    memset(extended + 32, 'x', 32);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    uint8_t value[32];
    gsize size = sizeof(value);
    g_checksum_update(sum, extended, sizeof(extended));
    g_checksum_get_digest(sum, value, &size);
    g_autofree char *base64 = g_base64_encode(value, sizeof(value));
    char *values = strstr(text, "{\"pcrs\":\"");
    g_assert_nonnull(values);
    for (unsigned i = 0; i < 43; i++)
        values[9 + i] = base64[i] == '+' ? '-' : base64[i] == '/' ? '_' : base64[i];
    g_assert_true(g_file_set_contents(file, text, -1, NULL));
    agent_start(a, NULL);
    expect_refused(a, p, "not by the policy key");
    agent_expect_named(approve(a, pem, NULL, NULL), NULL);
    agent_expect_named(decrypt(a, p, NULL), NULL);
    agent_stop(a);
    EVP_PKEY_free(key);
}

/* A key from elsewhere is bound as one that the TPM makes. */
static void test_import(TestAgent *a, gconstpointer data)
{
    EVP_PKEY *key = EVP_RSA_gen(2048), *policy = EVP_RSA_gen(2048);
    g_autofree char *pem = test_private_pem(key, NULL), *policy_pem = test_private_pem(policy, PASSWORD);

    agent_start(a, NULL);
    agent_expect_named(import(a, pem, "7", NULL, NULL, NULL), INVALID_ARGS);
    agent_expect_named(import(a, pem, "7,7", policy_pem, PASSWORD, NULL), INVALID_ARGS);
    agent_expect_named(import(a, pem, "7", policy_pem, PASSWORD, "none"), INVALID_ARGS);
    agent_expect_named(import(a, pem, "7", policy_pem, "another", NULL), ERROR("Locked"));
    agent_expect_named(import(a, "no key", "7", policy_pem, PASSWORD, NULL), INVALID_ARGS);
    agent_expect_state(a, "none");
    agent_expect_named(import(a, pem, "7", policy_pem, PASSWORD, NULL), NULL);
    g_autofree char *pcrs = agent_fact(a, IDENTITY, "Show", "pcrs");
    g_autofree char *protection = agent_fact(a, IDENTITY, "Show", "protection");
    g_assert_cmpstr(pcrs, ==, "7");
    g_assert_cmpstr(protection, ==, "imported");
    g_autoptr(GByteArray) p = cipher_package(a);
    agent_expect_named(decrypt(a, p, NULL), NULL);
    boot_otherwise(a, ESYS_TR_PCR7);
    expect_refused(a, p, "PCR 7");
    agent_expect_named(approve(a, policy_pem, PASSWORD, NULL), NULL);
    agent_expect_named(decrypt(a, p, NULL), NULL);
    /* and so are those that follow it */
    g_variant_unref(agent_call(a, IDENTITY, "Rotate", NULL));
    boot_otherwise(a, ESYS_TR_PCR7);
    expect_refused(a, p, "PCR 7");
    agent_stop(a);
    EVP_PKEY_free(key);
    EVP_PKEY_free(policy);
}

static void test_arguments(TestAgent *a, gconstpointer data)
{
    static const char *const wrong[] = {"", "24", "7,", ",7", "7,7", "0,1,2,3,4,5,6,7,8", "7;11", "007"};
    EVP_PKEY *key = EVP_RSA_gen(2048);
    g_autofree char *pem = test_private_pem(key, NULL);

    agent_start(a, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
        agent_expect_named(create(a, wrong[i], pem, NULL, NULL), INVALID_ARGS);
    agent_expect_named(create(a, "7", NULL, NULL, NULL), INVALID_ARGS);
    agent_expect_named(create(a, "7", pem, NULL, "none"), INVALID_ARGS);
    agent_expect_named(create(a, "7", "no key", NULL, NULL), INVALID_ARGS);
    agent_expect_state(a, "none");
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    agent_expect_named(approve(a, pem, NULL, NULL), INVALID_ARGS);
    agent_stop(a);
    EVP_PKEY_free(key);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dbus/pcr/approve", TestAgent, NULL, agent_set_up, test_approve, agent_tear_down);
    g_test_add("/dbus/pcr/predicted", TestAgent, NULL, agent_set_up, test_predicted, agent_tear_down);
    g_test_add("/dbus/pcr/elsewhere", TestAgent, NULL, agent_set_up, test_elsewhere, agent_tear_down);
    g_test_add("/dbus/pcr/import", TestAgent, NULL, agent_set_up, test_import, agent_tear_down);
    g_test_add("/dbus/pcr/pin", TestAgent, NULL, agent_set_up, test_pin, agent_tear_down);
    g_test_add("/dbus/pcr/forged", TestAgent, NULL, agent_set_up, test_forged, agent_tear_down);
    g_test_add("/dbus/pcr/arguments", TestAgent, NULL, agent_set_up, test_arguments, agent_tear_down);
    return g_test_run();
}
