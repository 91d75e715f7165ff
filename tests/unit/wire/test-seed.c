/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The seed form against the openssl program: what one writes the other reads. Keys of 2048, 3072 and 4096
 * bits. */

#include "libhmsg/wire/seed.h"

#include <openssl/pem.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "tests/lib/person.h"
#include "tests/lib/process.h"

#define TEXT "Dear Bob, here are the plans."
#define OAEP "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256"
#define HEX "hex() { od -An -v -tx1 \"$1\" | tr -d ' \\n'; }\n"
#define MAC                                                                                                  \
    "openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt hexkey:$(hex aes) "                                \
    "-kdfopt 'info:hmsg seed mac' -binary -out mackey HKDF\n"                                                \
    "cat iv ciphertext | openssl dgst -sha256 -mac hmac -macopt hexkey:$(hex mackey) -binary -out hmac\n"

typedef struct Fixture {
    char *folder;
    EVP_PKEY *private_key;
    RsaKey *key;
} Fixture;

static void save(const Fixture *f, const char *name, const void *data, size_t n)
{
    g_autofree char *path = g_build_filename(f->folder, name, NULL);
    g_autoptr(GError) error = NULL;

    g_file_set_contents(path, data, (gssize)n, &error);
    g_assert_no_error(error);
}

static char *load(const Fixture *f, const char *name, size_t *ret_size)
{
    g_autofree char *path = g_build_filename(f->folder, name, NULL);
    g_autoptr(GError) error = NULL;
    char *data = NULL;

    g_file_get_contents(path, &data, ret_size, &error);
    g_assert_no_error(error);
    return data;
}

/* A shell script in the folder. */
static void run(const Fixture *f, const char *script)
{
    g_autofree char *text = g_strdup(script);
    char shell[] = "sh", option[] = "-ec", *argv[] = {shell, option, text, NULL};
    g_autoptr(GError) error = NULL;
    int status = 0;

    g_spawn_sync(f->folder, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status, &error);
    g_assert_no_error(error);
    g_assert_true(g_spawn_check_wait_status(status, &error));
}

static void fixture_set_up(Fixture *f, gconstpointer bits)
{
    g_autofree char *path = NULL;
    FILE *file = NULL;

    f->folder = test_folder_new();
    f->private_key = test_rsa_new(GPOINTER_TO_UINT(bits));
    g_assert_cmpint(rsa_key_from_evp(f->private_key, &f->key), ==, 0);
    path = g_build_filename(f->folder, "key.pem", NULL);
    file = fopen(path, "we");
    g_assert_nonnull(file);
    g_assert_cmpint(PEM_write_PKCS8PrivateKey(file, f->private_key, NULL, NULL, 0, NULL, NULL), ==, 1);
    g_assert_cmpint(fclose(file), ==, 0);
}

static void fixture_tear_down(Fixture *f, gconstpointer bits)
{
    (void)bits;
    EVP_PKEY_free(f->private_key);
    (void)rsa_key_free(f->key);
    test_folder_remove(f->folder);
}

static void test_openssl_reads(Fixture *f, gconstpointer bits)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(SEED_SIZE_MAX);
    _cleanup_(seed_freep) Seed *s = NULL;
    g_autofree char *plain = NULL;
    size_t n = 0;

    (void)bits;
    g_assert_cmpint(seed_build(f->key, f->key, TEXT, strlen(TEXT), &text), ==, 0);
    g_assert_cmpint(seed_parse(buf_text(&text), text.size, &s), ==, 0);
    save(f, "ek", s->encrypted_key.data, s->encrypted_key.size);
    save(f, "iv", s->iv, sizeof(s->iv));
    save(f, "ciphertext", s->ciphertext.data, s->ciphertext.size);
    run(f, "openssl pkeyutl -decrypt -inkey key.pem " OAEP " -in ek -out aes\n" HEX MAC
           "openssl enc -d -aes-256-cbc -K $(hex aes) -iv $(hex iv) -in ciphertext -out plain");
    plain = load(f, "plain", &n);
    g_assert_cmpmem(plain, n, TEXT, strlen(TEXT));
    g_assert_true(s->has_mac);
    g_autofree char *mac = load(f, "hmac", &n);
    g_assert_cmpmem(mac, n, s->mac, sizeof(s->mac));
}

static void put(Buf *b, const Fixture *f, const char *before, const char *name)
{
    size_t n = 0;
    g_autofree char *data = load(f, name, &n);

    g_assert_cmpint(buf_append_string(b, before), ==, 0);
    g_assert_cmpint(base64_append(b, data, n), ==, 0);
}

/* What openssl wrote, as JSON. */
static void collect(const Fixture *f, bool mac, Buf *ret)
{
    put(ret, f, "{\"sender_public_key\":\"", "spki");
    put(ret, f, "\",\"encrypted_aes_key\":\"", "ek");
    put(ret, f, "\",\"iv\":\"", "iv");
    put(ret, f, "\",\"ciphertext\":\"", "ciphertext");
    if (mac)
        put(ret, f, "\",\"hmac\":\"", "hmac");
    g_assert_cmpint(buf_append_string(ret, "\"}"), ==, 0);
}

/* changed: a byte of the hmac. */
static void expect_opens(const Fixture *f, bool mac, bool changed)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(SEED_SIZE_MAX), out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    _cleanup_(seed_freep) Seed *s = NULL;
    _cleanup_(secret_freep) Secret *key = NULL;

    collect(f, mac, &text);
    g_assert_cmpint(seed_parse(buf_text(&text), text.size, &s), ==, 0);
    g_assert_true(s->has_mac == mac);
    g_assert_cmpint(
        rsa_private_oaep_decrypt(f->private_key, s->encrypted_key.data, s->encrypted_key.size, &key), ==, 0);
    s->mac[7] ^= changed ? 1 : 0;
    g_assert_cmpint(seed_open(s, key, false, &out), ==,
                    mac && !changed ? 0 : HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(out.size, ==, mac && !changed ? strlen(TEXT) : 0);
    buf_clear(&out);
    /* without a MAC, when that is allowed; a wrong one never */
    g_assert_cmpint(seed_open(s, key, true, &out), ==, changed ? HMSG_ERROR_AUTHENTICATION_FAILED : 0);
    if (!changed)
        g_assert_cmpmem(out.data, out.size, TEXT, strlen(TEXT));
}

static void test_openssl_writes(Fixture *f, gconstpointer bits)
{
    (void)bits;
    save(f, "plain", TEXT, strlen(TEXT));
    run(f, "openssl rand -out aes 32; openssl rand -out iv 16\n" HEX
           "openssl pkey -in key.pem -pubout -out pub.pem\n"
           "openssl pkey -in key.pem -pubout -outform DER -out spki\n"
           "openssl pkeyutl -encrypt -pubin -inkey pub.pem " OAEP " -in aes -out ek\n"
           "openssl enc -aes-256-cbc -K $(hex aes) -iv $(hex iv) -in plain -out ciphertext\n" MAC);
    expect_opens(f, false, false);
    expect_opens(f, true, false);
    expect_opens(f, true, true);
}

int main(int argc, char **argv)
{
    g_autofree char *openssl = g_find_program_in_path("openssl");

    g_test_init(&argc, &argv, NULL);
    if (!openssl) {
        g_print("1..0 # SKIP the program openssl is missing\n");
        return 0;
    }
    for (unsigned bits = 2048; bits <= 4096; bits += 1024) {
        g_autofree char *reads = g_strdup_printf("/seed/openssl-reads/%u", bits);
        g_autofree char *writes = g_strdup_printf("/seed/openssl-writes/%u", bits);

        g_test_add(reads, Fixture, GUINT_TO_POINTER(bits), fixture_set_up, test_openssl_reads,
                   fixture_tear_down);
        g_test_add(writes, Fixture, GUINT_TO_POINTER(bits), fixture_set_up, test_openssl_writes,
                   fixture_tear_down);
    }
    return g_test_run();
}
