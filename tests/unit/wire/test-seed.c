/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The seed form against the openssl program: what one writes the other reads. Keys of 2048, 3072 and 4096
 * bits. */

#include "libhmsg/wire/seed.h"

#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "tests/unit/wire/openssl-util.h"

#define TEXT "Dear Bob, here are the plans."
#define OAEP "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256"
#define HEX "hex() { od -An -v -tx1 \"$1\" | tr -d ' \\n'; }\n"
#define MAC                                                                                                  \
    "openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt hexkey:$(hex aes) "                                \
    "-kdfopt 'info:hmsg seed mac' -binary -out mackey HKDF\n"                                                \
    "cat iv ciphertext | openssl dgst -sha256 -mac hmac -macopt hexkey:$(hex mackey) -binary -out hmac\n"

static void run(const Workshop *w, const char *script)
{
    run_script(w, HEX, script);
}

static void set_up(Workshop *w, gconstpointer bits)
{
    workshop_open(w, GPOINTER_TO_UINT(bits));
}

static void tear_down(Workshop *w, gconstpointer bits)
{
    (void)bits;
    workshop_close(w);
}

static void test_openssl_reads(Workshop *w, gconstpointer bits)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(SEED_SIZE_MAX);
    _cleanup_(seed_freep) Seed *s = NULL;
    g_autofree char *plain = NULL;
    size_t n = 0;

    (void)bits;
    g_assert_cmpint(seed_build(w->key, w->key, TEXT, strlen(TEXT), &text), ==, 0);
    g_assert_cmpint(seed_parse(buf_text(&text), text.size, &s), ==, 0);
    save(w, "ek", s->encrypted_key.data, s->encrypted_key.size);
    save(w, "iv", s->iv, sizeof(s->iv));
    save(w, "ciphertext", s->ciphertext.data, s->ciphertext.size);
    run(w, "openssl pkeyutl -decrypt -inkey key.pem " OAEP " -in ek -out aes\n" HEX MAC
           "openssl enc -d -aes-256-cbc -K $(hex aes) -iv $(hex iv) -in ciphertext -out plain");
    plain = load(w, "plain", &n);
    g_assert_cmpmem(plain, n, TEXT, strlen(TEXT));
    g_assert_true(s->has_mac);
    g_autofree char *mac = load(w, "hmac", &n);
    g_assert_cmpmem(mac, n, s->mac, sizeof(s->mac));
}

static void put(Buf *b, const Workshop *w, const char *before, const char *name)
{
    size_t n = 0;
    g_autofree char *data = load(w, name, &n);

    g_assert_cmpint(buf_append_string(b, before), ==, 0);
    g_assert_cmpint(base64_append(b, data, n), ==, 0);
}

/* What openssl wrote, as JSON. */
static void collect(const Workshop *w, bool mac, Buf *ret)
{
    put(ret, w, "{\"sender_public_key\":\"", "spki");
    put(ret, w, "\",\"encrypted_aes_key\":\"", "ek");
    put(ret, w, "\",\"iv\":\"", "iv");
    put(ret, w, "\",\"ciphertext\":\"", "ciphertext");
    if (mac)
        put(ret, w, "\",\"hmac\":\"", "hmac");
    g_assert_cmpint(buf_append_string(ret, "\"}"), ==, 0);
}

/* changed: a byte of the hmac. */
static void expect_opens(const Workshop *w, bool mac, bool changed)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(SEED_SIZE_MAX), out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    _cleanup_(seed_freep) Seed *s = NULL;
    _cleanup_(secret_freep) Secret *key = NULL;

    collect(w, mac, &text);
    g_assert_cmpint(seed_parse(buf_text(&text), text.size, &s), ==, 0);
    g_assert_true(s->has_mac == mac);
    g_assert_cmpint(
        rsa_private_oaep_decrypt(w->private_key, s->encrypted_key.data, s->encrypted_key.size, &key), ==, 0);
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

static void test_openssl_writes(Workshop *w, gconstpointer bits)
{
    (void)bits;
    save(w, "plain", TEXT, strlen(TEXT));
    run(w, "openssl rand -out aes 32; openssl rand -out iv 16\n" HEX
           "openssl pkey -in key.pem -pubout -out pub.pem\n"
           "openssl pkey -in key.pem -pubout -outform DER -out spki\n"
           "openssl pkeyutl -encrypt -pubin -inkey pub.pem " OAEP " -in aes -out ek\n"
           "openssl enc -aes-256-cbc -K $(hex aes) -iv $(hex iv) -in plain -out ciphertext\n" MAC);
    expect_opens(w, false, false);
    expect_opens(w, true, false);
    expect_opens(w, true, true);
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

        g_test_add(reads, Workshop, GUINT_TO_POINTER(bits), set_up, test_openssl_reads, tear_down);
        g_test_add(writes, Workshop, GUINT_TO_POINTER(bits), set_up, test_openssl_writes, tear_down);
    }
    return g_test_run();
}
