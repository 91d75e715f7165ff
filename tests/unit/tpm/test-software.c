/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/tpm/software.h"

#include <errno.h>
#include <glib.h>
#include <openssl/evp.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/key.h"
#include "tests/lib/oaep-sha1.h"
#include "tests/lib/process.h"

#define PASSWORD "a password of several words"

static const uint8_t salt[SOFTWARE_SALT_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

typedef struct Fixture {
    Secret *key, *wrong;
    TpmKeyFile *decrypt, *sign;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(secret_new(SOFTWARE_KEY_SIZE, &f->key), ==, 0);
    g_assert_cmpint(EVP_PBE_scrypt(PASSWORD, strlen(PASSWORD), salt, sizeof(salt), 1u << SOFTWARE_COST,
                                   SOFTWARE_R, SOFTWARE_P, 0, secret_data(f->key), SOFTWARE_KEY_SIZE),
                    ==, 1);
    g_assert_cmpint(secret_new_random(SOFTWARE_KEY_SIZE, &f->wrong), ==, 0);
    g_assert_cmpint(software_generate(TPM_KEY_DECRYPT, salt, f->key, &f->decrypt), ==, 0);
    g_assert_cmpint(software_generate(TPM_KEY_SIGN, salt, f->key, &f->sign), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    secret_free(f->key);
    secret_free(f->wrong);
    tpm_keyfile_free(f->decrypt);
    tpm_keyfile_free(f->sign);
}

static RsaKey *public_of(const TpmKeyFile *k)
{
    size_t n;
    const uint8_t *spki = tpm_keyfile_spki(k, &n);
    RsaKey *public = NULL;

    g_assert_cmpint(rsa_key_from_spki(spki, n, &public), ==, 0);
    return public;
}

static void expect_decrypts(const TpmKeyFile *k, const Secret *key)
{
    _cleanup_(rsa_key_freep) RsaKey *public = public_of(k);
    _cleanup_(buf_done) Buf ciphertext = BUF_MAX(RSA_SIZE_MAX);
    _cleanup_(secret_freep) Secret *plain = NULL;

    g_assert_cmpint(rsa_key_oaep_encrypt(public, "text", 4, &ciphertext), ==, 0);
    g_assert_cmpint(software_decrypt(k, key, ciphertext.data, ciphertext.size, &plain), ==, 0);
    g_assert_cmpmem(secret_bytes(plain), secret_size(plain), "text", 4);
}

static void test_oaep_sha1(Fixture *f, gconstpointer data)
{
    _cleanup_(secret_freep) Secret *plain = NULL, *none = NULL;
    _cleanup_(rsa_key_freep) RsaKey *public = public_of(f->decrypt);
    _cleanup_(buf_done) Buf sha256 = BUF_MAX(RSA_SIZE_MAX);
    uint8_t ciphertext[TPM_RSA_SIZE];
    size_t n = 0;
    const uint8_t *spki = tpm_keyfile_spki(f->decrypt, &n);

    test_oaep_sha1_encrypt(spki, n, "text", 4, ciphertext);
    g_assert_cmpint(software_decrypt(f->decrypt, f->key, ciphertext, sizeof(ciphertext), &none), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(software_decrypt_oaep_sha1(f->decrypt, f->key, ciphertext, sizeof(ciphertext), &plain),
                    ==, 0);
    g_assert_cmpmem(secret_bytes(plain), secret_size(plain), "text", 4);
    g_assert_cmpint(rsa_key_oaep_encrypt(public, "text", 4, &sha256), ==, 0);
    g_assert_cmpint(software_decrypt_oaep_sha1(f->decrypt, f->key, sha256.data, sha256.size, &none), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
}

static void test_use(Fixture *f, gconstpointer data)
{
    _cleanup_(rsa_key_freep) RsaKey *public = public_of(f->sign);
    _cleanup_(secret_freep) Secret *none = NULL;
    uint8_t digest[32] = {7}, signature[TPM_RSA_SIZE], noise[TPM_RSA_SIZE] = {1};

    expect_decrypts(f->decrypt, f->key);
    g_assert_cmpint(software_decrypt(f->decrypt, f->key, noise, sizeof(noise), &none), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(software_sign(f->sign, f->key, digest, signature), ==, 0);
    g_assert_cmpint(rsa_key_verify_ps256(public, digest, signature, sizeof(signature)), ==, 0);
    g_assert_true(tpm_keyfile_is_software(f->sign));
    g_assert_true(tpm_keyfile_needs_auth(f->sign));
    g_assert_null(tpm_keyfile_policy(f->sign));
    g_assert_cmpint(tpm_keyfile_use(f->decrypt), ==, TPM_KEY_DECRYPT);
}

/* Also those whose padding is right by chance. */
static void test_wrong_key(Fixture *f, gconstpointer data)
{
    uint8_t digest[32] = {7}, signature[TPM_RSA_SIZE];

    for (unsigned i = 0; i < 700; i++) {
        memcpy(secret_data(f->wrong), &i, sizeof(i));
        g_assert_cmpint(software_sign(f->sign, f->wrong, digest, signature), ==, HMSG_ERROR_LOCKED);
    }
}

static void test_again(Fixture *f, gconstpointer data)
{
    uint8_t other[SOFTWARE_SALT_SIZE] = {9};
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *next = NULL, *none = NULL;
    _cleanup_(secret_freep) Secret *plain = NULL;
    uint8_t noise[TPM_RSA_SIZE] = {1};

    g_assert_cmpint(software_encrypt_again(f->decrypt, f->wrong, other, f->key, &none), ==,
                    HMSG_ERROR_LOCKED);
    g_assert_cmpint(software_encrypt_again(f->decrypt, f->key, other, f->wrong, &next), ==, 0);
    expect_decrypts(next, f->wrong);
    g_assert_cmpmem(software_salt(next), SOFTWARE_SALT_SIZE, other, sizeof(other));
    g_assert_cmpint(software_decrypt(next, f->key, noise, sizeof(noise), &plain), ==, HMSG_ERROR_LOCKED);
}

static void test_pem(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(TPM_KEYFILE_PEM_MAX);
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *k = NULL, *none = NULL;

    g_assert_cmpint(tpm_keyfile_to_pem(f->decrypt, &text), ==, 0);
    g_assert_cmpint(software_from_pem(buf_text(&text), text.size, TPM_KEY_DECRYPT, &k), ==, 0);
    expect_decrypts(k, f->key);
    for (size_t n = 0; n < text.size - 1; n += 37) /* cut short anywhere */
        g_assert_cmpint(software_from_pem(buf_text(&text), n, TPM_KEY_DECRYPT, &none), ==, -EBADMSG);
    g_assert_cmpint(tpm_keyfile_from_pem(buf_text(&text), text.size, &none), ==, -EBADMSG);
    g_assert_null(none);
}

/* Other parameters, sizes and public keys than ours. */
static void test_form(Fixture *f, gconstpointer data)
{
    size_t n, spki_size;
    const uint8_t *spki = tpm_keyfile_spki(f->decrypt, &spki_size);
    const uint8_t *of_other = tpm_keyfile_spki(f->sign, &spki_size);
    const uint8_t *p = tpm_keyfile_private(f->decrypt, &n);
    g_autofree uint8_t *copy = g_memdup2(p, n);
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *none = NULL, *mixed = NULL;
    _cleanup_(secret_freep) Secret *plain = NULL;
    uint8_t noise[TPM_RSA_SIZE] = {1};

    for (size_t i = 0; i < 97; i++) {
        bool is_free = (i >= 36 && i < 52) || (i >= 77 && i < 93); /* salt and IV */
        int r;

        copy[i] ^= 1;
        r = tpm_keyfile_from_software(TPM_KEY_DECRYPT, spki, spki_size, copy, n, &none);
        g_assert_cmpint(r, ==, is_free ? 0 : -EBADMSG);
        none = tpm_keyfile_free(none);
        copy[i] ^= 1;
    }
    for (size_t i = 0; i < n; i += 5)
        g_assert_cmpint(tpm_keyfile_from_software(TPM_KEY_DECRYPT, spki, spki_size, copy, i, &none), ==,
                        -EBADMSG);
    g_assert_cmpint(tpm_keyfile_from_software(TPM_KEY_DECRYPT, spki, spki_size - 1, p, n, &none), ==,
                    -EBADMSG);
    g_assert_cmpint(tpm_keyfile_from_software(TPM_KEY_DECRYPT, of_other, spki_size, p, n, &mixed), ==, 0);
    g_assert_cmpint(software_decrypt(mixed, f->key, noise, sizeof(noise), &plain), ==, -EBADMSG);
}

/* Others read it: the password comes by a descriptor. */
static void test_openssl(Fixture *f, gconstpointer data)
{
    char *folder = test_folder_new();
    g_autofree char *file = g_build_filename(folder, "key.pem", NULL);
    g_autofree char *password = g_build_filename(folder, "password", NULL);
    g_autofree char *command =
        g_strdup_printf("openssl pkey -in %s -passin fd:3 -pubout 3<%s", file, password);
    g_autofree char *out = NULL;
    const char *const argv[] = {"sh", "-c", command, NULL};
    _cleanup_(buf_done) Buf text = BUF_MAX(TPM_KEYFILE_PEM_MAX);
    _cleanup_(buf_done) Buf expected = BUF_MAX(TPM_KEYFILE_PEM_MAX);
    _cleanup_(rsa_key_freep) RsaKey *public = public_of(f->decrypt);
    int status = 0;

    g_assert_cmpint(tpm_keyfile_to_pem(f->decrypt, &text), ==, 0);
    g_assert_cmpint(rsa_key_to_pem(public, &expected), ==, 0);
    g_assert_true(g_file_set_contents(file, buf_text(&text), (gssize)text.size, NULL));
    g_assert_true(g_file_set_contents(password, PASSWORD, -1, NULL));
    g_assert_true(g_spawn_sync(NULL, (char **)(uintptr_t)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out,
                               NULL, &status, NULL));
    g_assert_true(g_spawn_check_wait_status(status, NULL));
    g_assert_cmpstr(out, ==, buf_text(&expected));
    g_assert_true(g_file_set_contents(password, PASSWORD ".", -1, NULL));
    g_assert_true(g_spawn_sync(NULL, (char **)(uintptr_t)argv, NULL,
                               G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL,
                               &status, NULL));
    g_assert_false(g_spawn_check_wait_status(status, NULL));
    test_folder_remove(folder);
}

int main(int argc, char *argv[])
{
    static const struct {
        const char *path;
        void (*f)(Fixture *, gconstpointer);
    } tests[] = {
        {"/tpm/software/use", test_use},
        {"/tpm/software/wrong-key", test_wrong_key},
        {"/tpm/software/oaep-sha1", test_oaep_sha1},
        {"/tpm/software/again", test_again},
        {"/tpm/software/pem", test_pem},
        {"/tpm/software/form", test_form},
        {"/tpm/software/openssl", test_openssl},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < ELEMENTSOF(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, set_up, tests[i].f, tear_down);
    return g_test_run();
}
