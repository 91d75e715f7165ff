/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Another program at the same TPM: OpenSSL with the provider tpm2-openssl uses the key files of an identity
 * that is not bound to a counter. The provider decrypts OAEP since its version 1.3.0. */

#include <string.h>

#include "tests/dbus/cipher.h"

#define TEXT "what OpenSSL encrypts to the identity"

typedef struct Fixture {
    TestAgent a;
    char *decrypt, *sign, *public; /* files */
    char **environment;
} Fixture;

/* keys/<start of the SRK Name>/NAME */
static char *key_file(const TestAgent *a, const char *name)
{
    g_autofree char *keys = g_build_filename(a->data, "keys", NULL);
    g_autoptr(GDir) folder = g_dir_open(keys, 0, NULL);

    g_assert_nonnull(folder);
    return g_build_filename(keys, g_dir_read_name(folder), name, NULL);
}

static void set_up(Fixture *f, gconstpointer data)
{
    agent_set_up(&f->a, data);
    agent_start(&f->a, NULL);
    g_variant_unref(
        agent_call(&f->a, IDENTITY, "Create", agent_option("generation", g_variant_new_string("none"))));
    g_autoptr(GByteArray) pem = cipher_public_key(&f->a);
    f->public = g_build_filename(f->a.folder, "public.pem", NULL);
    g_assert_true(g_file_set_contents(f->public, (const char *)pem->data, pem->len, NULL));
    agent_stop(&f->a); /* the TPM serves one at a time */
    f->decrypt = key_file(&f->a, "decrypt.pem");
    f->sign = key_file(&f->a, "sign.pem");
    f->environment = g_environ_setenv(g_get_environ(), "TPM2OPENSSL_TCTI", test_swtpm_tcti(f->a.tpm), TRUE);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_free(f->decrypt);
    g_free(f->sign);
    g_free(f->public);
    g_strfreev(f->environment);
    agent_tear_down(&f->a, data);
}

/* openssl with the provider, or without; the exit status. */
static int run(Fixture *f, bool tpm, const char *words, char **ret_out, char **ret_err)
{
    g_autofree char *line =
        g_strconcat("openssl ", words, tpm ? " -provider tpm2 -provider default" : "", NULL);
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    int status =
        test_run((const char *const *)argv, (const char *const *)f->environment, NULL, ret_out, ret_err);

    if (status != 0)
        g_test_message("%s: %s", line, *ret_err);
    return status;
}

/* The same, which must do it. */
static void expect(Fixture *f, bool tpm, char **ret_out, const char *format, ...) G_GNUC_PRINTF(4, 5);
static void expect(Fixture *f, bool tpm, char **ret_out, const char *format, ...)
{
    g_autofree char *err = NULL;
    va_list arguments;

    va_start(arguments, format);
    g_autofree char *words = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_assert_cmpint(run(f, tpm, words, ret_out, &err), ==, 0);
}

static bool has_provider(Fixture *f)
{
    g_autofree char *err = NULL;

    if (run(f, true, "list -providers", NULL, &err) == 0)
        return true;
    g_test_skip("tpm2-openssl is not installed");
    return false;
}

static void test_open(Fixture *f, gconstpointer data)
{
    g_autofree char *out = NULL, *expected = NULL;

    if (!has_provider(f))
        return;
    g_assert_true(g_file_get_contents(f->public, &expected, NULL, NULL));
    expect(f, true, &out, "pkey -in %s -pubout", f->decrypt);
    g_assert_cmpstr(out, ==, expected);
}

static void test_sign(Fixture *f, gconstpointer data)
{
    g_autofree char *file = g_build_filename(f->a.folder, "text", NULL);
    g_autofree char *signature = g_build_filename(f->a.folder, "signature", NULL);
    g_autofree char *public = g_build_filename(f->a.folder, "sign-public.pem", NULL);

    if (!has_provider(f))
        return;
    g_assert_true(g_file_set_contents(file, TEXT, -1, NULL));
    expect(f, true, NULL, "pkey -in %s -pubout -out %s", f->sign, public);
    expect(f, true, NULL,
           "pkeyutl -sign -rawin -digest sha256 -inkey %s -in %s -out %s -pkeyopt "
           "rsa_padding_mode:pss",
           f->sign, file, signature);
    expect(f, false, NULL,
           "pkeyutl -verify -rawin -digest sha256 -pubin -inkey %s -in %s -sigfile %s -pkeyopt "
           "rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:auto",
           public, file, signature);
}

static void test_decrypt(Fixture *f, gconstpointer data)
{
    static const char oaep[] = "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256";
    g_autofree char *file = g_build_filename(f->a.folder, "text", NULL), *out = NULL, *err = NULL;
    g_autofree char *encrypted = g_build_filename(f->a.folder, "encrypted", NULL);

    if (!has_provider(f))
        return;
    g_assert_true(g_file_set_contents(file, TEXT, -1, NULL));
    expect(f, false, NULL, "pkeyutl -encrypt -pubin -inkey %s -in %s -out %s %s", f->public, file, encrypted,
           oaep);
    g_autofree char *words =
        g_strdup_printf("pkeyutl -decrypt -inkey %s -in %s %s", f->decrypt, encrypted, oaep);
    if (run(f, true, words, &out, &err) != 0 &&
        strstr(err, "Can't set parameter \"rsa_padding_mode:oaep\"")) {
        g_test_skip("this tpm2-openssl is older than 1.3.0: it knows no OAEP");
        return;
    }
    g_assert_cmpstr(out, ==, TEXT);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dbus/openssl/open", Fixture, NULL, set_up, test_open, tear_down);
    g_test_add("/dbus/openssl/sign", Fixture, NULL, set_up, test_sign, tear_down);
    g_test_add("/dbus/openssl/decrypt", Fixture, NULL, set_up, test_decrypt, tear_down);
    return g_test_run();
}
