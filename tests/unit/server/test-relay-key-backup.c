/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/cms.h"
#include "server/relay-key-backup.h"

#define MODULUS_BITS 2048

typedef struct Offline {
    EVP_PKEY *private;
    RsaKey *public;
} Offline;

static Offline offline_new(void)
{
    Offline o = {EVP_RSA_gen(MODULUS_BITS), NULL};

    g_assert_nonnull(o.private);
    g_assert_cmpint(rsa_key_from_evp(o.private, &o.public), ==, 0);
    return o;
}

static void offline_done(Offline *o)
{
    EVP_PKEY_free(o->private);
    (void)rsa_key_free(o->public);
}

/* As the owner of an offline key opens it. */
static int open_backup(const Buf *backup, const Offline *o, Buf *ret)
{
    _cleanup_(cms_freep) Cms *c = NULL;
    _cleanup_(secret_freep) Secret *key = NULL;
    const char *why = NULL;
    int r = cms_parse(backup->data, backup->size, &c, &why);

    g_assert_cmpint(r, ==, 0);
    r = cms_choose(c, o->public, false);
    if (r != 0)
        return r;
    r = rsa_private_oaep_decrypt(o->private, c->encrypted_key.data, c->encrypted_key.size, &key);
    return r == 0 ? cms_open(c, key, ret) : r;
}

static void test_round(void)
{
    _cleanup_(relay_key_freep) RelayKey *k = NULL;
    _cleanup_(buf_done) Buf backup = BUF_MAX(CMS_TEXT_SIZE_MAX), none = BUF_MAX(KEY_FILE_SIZE_MAX);
    Offline a = offline_new(), b = offline_new(), c = offline_new();
    RsaKey *to[] = {a.public, b.public};
    const Offline *owners[] = {&a, &b};

    g_assert_cmpint(relay_key_generate(RELAY_KEY_BITS_DEFAULT, &k), ==, 0);
    g_assert_cmpint(relay_key_backup(k, to, 0, &backup), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(relay_key_backup(k, to, 2, &backup), ==, 0);
    g_assert_true(g_str_has_prefix(buf_text(&backup), "-----BEGIN CMS-----"));
    for (size_t i = 0; i < G_N_ELEMENTS(owners); i++) {
        _cleanup_(buf_done) Buf pem = BUF_MAX(KEY_FILE_SIZE_MAX);
        _cleanup_(relay_key_freep) RelayKey *got = NULL;

        g_assert_cmpint(open_backup(&backup, owners[i], &pem), ==, 0);
        g_assert_cmpint(relay_key_read(buf_text(&pem), pem.size, &got), ==, 0);
        g_assert_cmpmem(relay_key_pin(got), PIN_SIZE, relay_key_pin(k), PIN_SIZE);
    }
    g_assert_cmpint(open_backup(&backup, &c, &none), ==, HMSG_ERROR_NOT_FOR_US);
    offline_done(&a);
    offline_done(&b);
    offline_done(&c);
}

static void test_refused(void)
{
    _cleanup_(relay_key_freep) RelayKey *k = NULL, *got = NULL;
    _cleanup_(buf_done) Buf backup = BUF_MAX(CMS_TEXT_SIZE_MAX), pem = BUF_MAX(KEY_FILE_SIZE_MAX);
    Offline a = offline_new();
    const char *const bad[] = {"", "hello", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
                               "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n"};

    g_assert_cmpint(relay_key_generate(MODULUS_BITS, &k), ==, 0);
    g_assert_cmpint(relay_key_backup(k, &a.public, 1, &backup), ==, 0);
    g_assert_cmpint(open_backup(&backup, &a, &pem), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_cmpint(relay_key_read(bad[i], strlen(bad[i]), &got), ==, HMSG_ERROR_BAD_PACKAGE);
    /* cut short, and the backup itself */
    g_assert_cmpint(relay_key_read(buf_text(&pem), pem.size / 2, &got), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(relay_key_read(buf_text(&backup), backup.size, &got), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_null(got);
    offline_done(&a);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/relay-key-backup/round", test_round);
    g_test_add_func("/server/relay-key-backup/refused", test_refused);
    return g_test_run();
}
