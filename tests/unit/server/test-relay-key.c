/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>
#include <unistd.h>

#include "libhmsg/base/error.h"
#include "server/relay-key.h"
#include "tests/lib/process.h"

#define NOW 1800000000
#define ACCOUNT 54321 /* of nobody's */

typedef struct Files {
    char *folder, *key, *passphrase;
} Files;

static Files files_new(void)
{
    Files f = {.folder = test_folder_new()};

    f.key = g_build_filename(f.folder, "identity.pem", NULL);
    f.passphrase = g_build_filename(f.folder, "passphrase", NULL);
    return f;
}

static void files_done(Files *f)
{
    test_folder_remove(f->folder);
    g_free(f->key);
    g_free(f->passphrase);
}

static void write_private(const char *path, const char *text)
{
    (void)g_unlink(path);
    g_assert_true(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, NULL));
}

static void expect_load(const Files *f, int expected)
{
    RelayKey *k = NULL;

    g_assert_cmpint(relay_key_load(f->key, f->passphrase, NULL, &k), ==, expected);
    g_assert_null(k);
    g_assert_cmpstr(relay_key_problem(expected), !=, "");
}

static void test_save_and_load(void)
{
    RelayKey *k = NULL, *again = NULL;
    Files f = files_new();
    g_autofree char *text = NULL;

    g_assert_cmpint(relay_key_generate(RELAY_KEY_BITS_DEFAULT, &k), ==, 0);
    g_assert_cmpuint(rsa_key_bits(relay_key_public(k)), ==, 3072);
    g_assert_cmpint(relay_key_save(k, f.key, f.passphrase), ==, 0);
    g_assert_cmpint(relay_key_save(k, f.key, f.passphrase), ==, -EEXIST);
    g_assert_true(g_file_get_contents(f.key, &text, NULL, NULL));
    g_assert_true(g_str_has_prefix(text, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));

    g_assert_cmpint(relay_key_load(f.key, f.passphrase, NULL, &again), ==, 0);
    g_assert_cmpmem(relay_key_pin(k), PIN_SIZE, relay_key_pin(again), PIN_SIZE);
    g_assert_true(rsa_key_equal(relay_key_public(k), relay_key_public(again)));
    (void)relay_key_free(k);
    (void)relay_key_free(again);
    files_done(&f);
}

static void test_wrap(void)
{
    RelayKey *k = NULL, *other = NULL;
    _cleanup_(secret_freep) Secret *secret = NULL, *got = NULL, *shorter = NULL;
    _cleanup_(buf_done) Buf wrapped = BUF_MAX(1024), foreign = BUF_MAX(1024);

    g_assert_cmpint(relay_key_generate(2048, &k), ==, 0);
    g_assert_cmpint(relay_key_generate(2048, &other), ==, 0);
    g_assert_cmpint(secret_new_random(32, &secret), ==, 0);
    g_assert_cmpint(relay_key_wrap(k, secret, &wrapped), ==, 0);
    g_assert_cmpint(relay_key_unwrap(other, wrapped.data, wrapped.size, &got), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(relay_key_unwrap(k, wrapped.data, wrapped.size - 1, &got), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(relay_key_unwrap(k, wrapped.data, wrapped.size, &got), ==, 0);
    g_assert_true(secret_equal(secret, got));
    got = secret_free(got);
    /* what was encrypted to this key for another purpose is no secret of the store */
    g_assert_cmpint(rsa_key_oaep_encrypt(relay_key_public(k), secret_bytes(secret), 32, &foreign), ==, 0);
    g_assert_cmpint(relay_key_unwrap(k, foreign.data, foreign.size, &got), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(secret_new_random(16, &shorter), ==, 0);
    g_assert_cmpint(relay_key_wrap(k, shorter, &wrapped), ==, -EINVAL);
    (void)relay_key_free(k);
    (void)relay_key_free(other);
}

/* A passphrase file that stays alone keeps nobody from making the other. */
static void test_save_fails(void)
{
    RelayKey *k = NULL;
    Files f = files_new();

    write_private(f.key, "something else");
    g_assert_cmpint(relay_key_generate(2048, &k), ==, 0);
    g_assert_cmpint(relay_key_save(k, f.key, f.passphrase), ==, -EEXIST);
    g_assert_false(g_file_test(f.passphrase, G_FILE_TEST_EXISTS));
    (void)relay_key_free(k);
    files_done(&f);
}

static void test_refused(void)
{
    RelayKey *k = NULL;
    Files f = files_new();
    g_autofree char *text = NULL;
    g_autofree char *passphrase = NULL;

    expect_load(&f, -ENOENT);
    g_assert_cmpint(relay_key_generate(2048, &k), ==, 0);
    g_assert_cmpint(relay_key_save(k, f.key, f.passphrase), ==, 0);
    (void)relay_key_free(k);
    g_assert_true(g_file_get_contents(f.key, &text, NULL, NULL));
    g_assert_true(g_file_get_contents(f.passphrase, &passphrase, NULL, NULL));

    g_assert_cmpint(g_chmod(f.key, 0640), ==, 0);
    expect_load(&f, HMSG_ERROR_DENIED);
    g_assert_cmpint(g_chmod(f.key, 0600), ==, 0);
    g_assert_cmpint(g_chmod(f.passphrase, 0604), ==, 0);
    expect_load(&f, HMSG_ERROR_DENIED);
    g_assert_cmpint(g_chmod(f.passphrase, 0600), ==, 0);

    write_private(f.passphrase, "another\n");
    expect_load(&f, HMSG_ERROR_AUTHENTICATION_FAILED);
    write_private(f.passphrase, "\n");
    expect_load(&f, HMSG_ERROR_INVALID_ARGS);
    const char *file = NULL;
    g_assert_cmpint(relay_key_load(f.key, f.passphrase, &file, &k), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpstr(file, ==, f.passphrase);
    write_private(f.passphrase, passphrase);
    /* Damage that the decryption does not see: some of these are still keys, though others. */
    for (size_t at = strlen("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"); at < strlen(text) - 60; at += 151) {
        char was = text[at];

        if (!g_ascii_isalnum(was))
            continue;
        text[at] = was == 'A' ? 'B' : 'A';
        write_private(f.key, text);
        g_assert_cmpint(relay_key_load(f.key, f.passphrase, &file, &k), !=, 0);
        g_assert_cmpstr(file, ==, f.key);
        text[at] = was;
    }
    write_private(f.key, text);
    g_assert_cmpint(relay_key_load(f.key, f.passphrase, &file, &k), ==, 0);
    k = relay_key_free(k);
    write_private(f.key, "");
    expect_load(&f, HMSG_ERROR_BAD_PACKAGE);
    files_done(&f);
}

/* After systemd-tmpfiles the files are the service's, and the administrator still asks for the pin. */
static void test_account(void)
{
    RelayKey *k = NULL, *loaded = NULL;
    Files f = files_new();

    if (geteuid() != 0) {
        g_test_skip("only root can give files away");
        files_done(&f);
        return;
    }
    g_assert_cmpint(relay_key_generate(2048, &k), ==, 0);
    g_assert_cmpint(relay_key_save(k, f.key, f.passphrase), ==, 0);
    g_assert_cmpint(chown(f.key, ACCOUNT, ACCOUNT), ==, 0);
    g_assert_cmpint(chown(f.passphrase, ACCOUNT, ACCOUNT), ==, 0);
    g_assert_cmpint(relay_key_load(f.key, f.passphrase, NULL, &loaded), ==, 0);
    g_assert_cmpmem(relay_key_pin(loaded), PIN_SIZE, relay_key_pin(k), PIN_SIZE);
    (void)relay_key_free(loaded);
    g_assert_cmpint(g_chmod(f.key, 0640), ==, 0);
    expect_load(&f, HMSG_ERROR_DENIED);
    (void)relay_key_free(k);
    files_done(&f);
}

/* Keys of others: written by OpenSSL with this cipher (NULL: none). */
static void write_key(const Files *f, EVP_PKEY *pkey, const EVP_CIPHER *cipher)
{
    FILE *out = fopen(f->key, "w");

    g_assert_cmpint(fchmod(fileno(out), 0600), ==, 0);
    g_assert_cmpint(
        PEM_write_PKCS8PrivateKey(out, pkey, cipher, cipher ? "word" : NULL, cipher ? 4 : 0, NULL, NULL), ==,
        1);
    fclose(out);
}

static void test_foreign_keys(void)
{
    RelayKey *k = NULL;
    Files f = files_new();
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    EVP_PKEY *small = EVP_RSA_gen(1024);
    EVP_PKEY *odd = EVP_RSA_gen(2560);
    EVP_PKEY *ec = EVP_EC_gen("P-256");

    write_private(f.passphrase, "word");
    write_key(&f, rsa, EVP_aes_256_cbc()); /* PBKDF2, what openssl pkcs8 makes */
    g_assert_cmpint(relay_key_load(f.key, f.passphrase, NULL, &k), ==, 0);
    k = relay_key_free(k);
    write_key(&f, rsa, EVP_aes_128_cbc());
    expect_load(&f, HMSG_ERROR_BAD_PACKAGE);
    write_key(&f, rsa, NULL);
    expect_load(&f, HMSG_ERROR_BAD_PACKAGE);
    write_key(&f, small, EVP_aes_256_cbc());
    expect_load(&f, HMSG_ERROR_BAD_PACKAGE);
    write_key(&f, odd, EVP_aes_256_cbc());
    expect_load(&f, HMSG_ERROR_BAD_PACKAGE);
    write_key(&f, ec, EVP_aes_256_cbc());
    expect_load(&f, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(relay_key_generate(1024, &k), ==, HMSG_ERROR_INVALID_ARGS);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(small);
    EVP_PKEY_free(odd);
    EVP_PKEY_free(ec);
    files_done(&f);
}

static void test_online(void)
{
    _cleanup_(relay_statement_done) RelayStatement s = {0};
    RelayStatement late = {0};
    RelayKey *k = NULL;

    g_assert_cmpint(relay_key_generate(2048, &k), ==, 0);
    g_assert_null(relay_key_online(k));
    g_assert_cmpint(relay_key_renew(k, NOW), ==, 0);
    OnlineKey *first = relay_key_online(k);
    const char *text = online_key_statement(first);
    g_assert_cmpmem(online_key_pin(first), PIN_SIZE, relay_key_pin(k), PIN_SIZE);
    g_assert_cmpint(online_key_expires(first), ==, NOW + 86400);
    g_assert_cmpint(relay_statement_parse(text, strlen(text), relay_key_pin(k), NOW, &s), ==, 0);
    g_assert_true(rsa_key_equal(s.identity, relay_key_public(k)));
    g_assert_cmpmem(ec_key_thumbprint(s.online), KID_SIZE, ec_key_thumbprint(online_key_ec(first)), KID_SIZE);
    g_assert_cmpint(
        relay_statement_parse(text, strlen(text), relay_key_pin(k), NOW + 86400 + CLOCK_SKEW_MAX + 1, &late),
        ==, HMSG_ERROR_AUTHENTICATION_FAILED);

    /* the old one stays for whoever still has it */
    g_assert_cmpint(relay_key_renew(k, NOW + 1), ==, 0);
    OnlineKey *second = relay_key_online(k);
    g_assert_true(first != second);
    g_assert_cmpint(
        memcmp(ec_key_thumbprint(online_key_ec(first)), ec_key_thumbprint(online_key_ec(second)), KID_SIZE),
        !=, 0);
    (void)relay_key_free(k);
    (void)online_key_unref(online_key_ref(first));
    g_assert_true(g_str_has_prefix(online_key_statement(first), "ey"));
    (void)online_key_unref(first);
    (void)online_key_unref(second);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/relay-key/save-and-load", test_save_and_load);
    g_test_add_func("/server/relay-key/wrap", test_wrap);
    g_test_add_func("/server/relay-key/save-fails", test_save_fails);
    g_test_add_func("/server/relay-key/refused", test_refused);
    g_test_add_func("/server/relay-key/account", test_account);
    g_test_add_func("/server/relay-key/foreign-keys", test_foreign_keys);
    g_test_add_func("/server/relay-key/online", test_online);
    return g_test_run();
}
