/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Other programs at the same TPM use the key files of an identity that is not bound to a counter: OpenSSL
 * with the provider tpm2-openssl, and tpm2-tools. The provider decrypts OAEP since its version 1.3.0. Older
 * ones, as 1.1.1, know one padding of decryption only, RSAES-PKCS1-v1_5: they refuse any other name of one,
 * and what they send without a name the TPM refuses (TPM_RC_SCHEME), since the scheme of the key is fixed to
 * OAEP. So it is tpm2-tools that show, on every machine, that what is encrypted to such an identity opens
 * without hmsg. */

#include <jansson.h>
#include <openssl/evp.h>
#include <string.h>

#include "tests/dbus/cipher.h"

#define TEXT "what OpenSSL encrypts to the identity"

typedef struct Fixture {
    TestAgent a;
    char *decrypt, *sign, *public; /* files */
    GByteArray *package;           /* to the identity */
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
    f->package = cipher_package(&f->a);
    g_autoptr(GByteArray) pem = cipher_public_key(&f->a);
    f->public = g_build_filename(f->a.folder, "public.pem", NULL);
    g_assert_true(g_file_set_contents(f->public, (const char *)pem->data, pem->len, NULL));
    agent_stop(&f->a); /* the TPM serves one at a time */
    f->decrypt = key_file(&f->a, "decrypt.pem");
    f->sign = key_file(&f->a, "sign.pem");
    f->environment = g_environ_setenv(g_get_environ(), "TPM2OPENSSL_TCTI", test_swtpm_tcti(f->a.tpm), TRUE);
    f->environment = g_environ_setenv(f->environment, "TPM2TOOLS_TCTI", test_swtpm_tcti(f->a.tpm), TRUE);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_free(f->decrypt);
    g_free(f->sign);
    g_free(f->public);
    g_byte_array_unref(f->package);
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

/* Without the name of a padding such a provider asks for its only one, which the TPM does not do with this
 * key. */
static void expect_refused_scheme(Fixture *f, const char *encrypted)
{
    g_autofree char *words = g_strdup_printf("pkeyutl -decrypt -inkey %s -in %s", f->decrypt, encrypted);
    g_autofree char *err = NULL;

    g_assert_cmpint(run(f, true, words, NULL, &err), !=, 0);
    g_assert_nonnull(strstr(err, "unsupported or incompatible scheme"));
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
    if (run(f, true, words, &out, &err) != 0) {
        g_assert_nonnull(strstr(err, "Can't set parameter \"rsa_padding_mode:oaep\""));
        expect_refused_scheme(f, encrypted); /* older than 1.3.0 */
        return;
    }
    g_assert_cmpstr(out, ==, TEXT);
}

/* A tool with its words, which may name files of the folder as @NAME; it must do it. */
static char *tool(Fixture *f, const char *words)
{
    g_auto(GStrv) argv = g_strsplit(words, " ", -1);
    g_autofree char *err = NULL;
    char *out = NULL;

    for (char **word = argv; *word; word++)
        if (**word == '@') {
            char *path = g_build_filename(f->a.folder, *word + 1, NULL);

            g_free(*word);
            *word = path;
        }
    if (test_run((const char *const *)argv, (const char *const *)f->environment, NULL, &out, &err) != 0)
        g_error("%s: %s", words, err);
    return out;
}

static void run_tool(Fixture *f, const char *words)
{
    g_free(tool(f, words));
}

static void put(Fixture *f, const char *name, const void *data, gsize n)
{
    g_autofree char *path = g_build_filename(f->a.folder, name, NULL);

    g_assert_true(g_file_set_contents(path, data, (gssize)n, NULL));
}

static char *get(Fixture *f, const char *name, gsize *ret_size)
{
    g_autofree char *path = g_build_filename(f->a.folder, name, NULL);
    char *data = NULL;

    g_assert_true(g_file_get_contents(path, &data, ret_size, NULL));
    return data;
}

/* The two octet strings of the TPMKey, TPM2B_PUBLIC and TPM2B_PRIVATE, are what tpm2_load takes. */
static void take_apart(Fixture *f)
{
    static const char *const names[] = {"public", "private"};
    g_autofree char *words = g_strdup_printf("openssl asn1parse -in %s", f->decrypt);
    g_autofree char *out = tool(f, words);
    g_auto(GStrv) lines = g_strsplit(out, "\n", -1);
    unsigned n = 0;

    for (char **line = lines; *line; line++) {
        if (!strstr(*line, "OCTET STRING"))
            continue;
        g_assert_cmpuint(n, <, G_N_ELEMENTS(names));
        g_autofree char *part =
            g_strdup_printf("openssl asn1parse -in %s -strparse %u -noout -out @%s", f->decrypt,
                            (unsigned)g_ascii_strtoull(*line, NULL, 10), names[n++]);
        run_tool(f, part);
    }
    g_assert_cmpuint(n, ==, 2);
}

/* Loads the key as @key, under the storage key of the template that TSS2 key files have. */
static bool load_by_tools(Fixture *f)
{
    g_autofree char *tool_path = g_find_program_in_path("tpm2_rsadecrypt");

    if (!tool_path) {
        g_test_skip("tpm2-tools are not installed");
        return false;
    }
    take_apart(f);
    run_tool(f, "tpm2_createprimary -Q -C o -g sha256 -G ecc256:null:aes128cfb -a "
                "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt -c @parent");
    run_tool(f, "tpm2_flushcontext -t");
    run_tool(f, "tpm2_load -Q -C @parent -u @public -r @private -c @key");
    run_tool(f, "tpm2_flushcontext -t");
    return true;
}

/* @encrypted, by the TPM. To be freed. */
static char *decrypt_by_tools(Fixture *f, gsize *ret_size)
{
    run_tool(f, "tpm2_rsadecrypt -c @key -s oaep -o @decrypted @encrypted");
    run_tool(f, "tpm2_flushcontext -t");
    return get(f, "decrypted", ret_size);
}

static void test_tools(Fixture *f, gconstpointer data)
{
    g_autofree char *words = NULL, *text = NULL;
    gsize n = 0;

    if (!load_by_tools(f))
        return;
    put(f, "text", TEXT, strlen(TEXT));
    words = g_strdup_printf("openssl pkeyutl -encrypt -pubin -inkey %s -in @text -out @encrypted -pkeyopt "
                            "rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256",
                            f->public);
    run_tool(f, words);
    text = decrypt_by_tools(f, &n);
    g_assert_cmpmem(text, n, TEXT, strlen(TEXT));
}

/* base64url; to be freed. */
static guchar *member(const json_t *package, const char *name, gsize *ret_size)
{
    g_autofree char *text = g_strdup(json_string_value(json_object_get(package, name)));

    g_assert_nonnull(text);
    g_strdelimit(text, "-", '+');
    g_strdelimit(text, "_", '/');
    g_autofree char *padded = g_strdup_printf("%s%.*s", text, (int)(-strlen(text) % 4), "===");
    return g_base64_decode(padded, ret_size);
}

/* A package of hmsg opens without hmsg: the TPM gives the session's keys to the tool, and the rest is AES. */
static void test_package(Fixture *f, gconstpointer data)
{
    g_autofree guchar *encrypted = NULL, *iv = NULL, *ciphertext = NULL;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    gsize n_encrypted, n_iv, n_ciphertext, n_keys;
    g_autofree char *keys = NULL;
    uint8_t text[64];
    int n = 0, last = 0;

    if (!load_by_tools(f)) {
        EVP_CIPHER_CTX_free(ctx);
        return;
    }
    json_t *package = json_loadb((const char *)f->package->data, f->package->len, 0, NULL);
    encrypted = member(package, "encrypted_aes_key", &n_encrypted);
    iv = member(package, "iv", &n_iv);
    ciphertext = member(package, "ciphertext", &n_ciphertext);
    g_assert_cmpuint(n_iv, ==, 16);
    g_assert_cmpuint(n_ciphertext, ==, 16);
    put(f, "encrypted", encrypted, n_encrypted);
    keys = decrypt_by_tools(f, &n_keys);
    g_assert_cmpuint(n_keys, ==, 64); /* for the MAC, then for AES-256 */
    g_assert_true(EVP_DecryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, (const uint8_t *)keys + 32, iv) == 1 &&
                  EVP_DecryptUpdate(ctx, text, &n, ciphertext, (int)n_ciphertext) == 1 &&
                  EVP_DecryptFinal_ex(ctx, text + n, &last) == 1);
    g_assert_cmpmem(text, (size_t)(n + last), "text", 4);
    EVP_CIPHER_CTX_free(ctx);
    json_decref(package);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dbus/openssl/open", Fixture, NULL, set_up, test_open, tear_down);
    g_test_add("/dbus/openssl/sign", Fixture, NULL, set_up, test_sign, tear_down);
    g_test_add("/dbus/openssl/decrypt", Fixture, NULL, set_up, test_decrypt, tear_down);
    g_test_add("/dbus/openssl/tools", Fixture, NULL, set_up, test_tools, tear_down);
    g_test_add("/dbus/openssl/package", Fixture, NULL, set_up, test_package, tear_down);
    return g_test_run();
}
