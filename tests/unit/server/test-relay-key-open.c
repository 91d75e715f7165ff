/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Relay keys, whoever holds them, as their files name them. */

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/handlers.h"
#include "server/relay-key-backup.h"
#include "server/relay-key-next.h"
#include "tests/lib/process.h"
#include "tests/lib/softhsm.h"
#include "tests/lib/swtpm.h"

#define NOW 1800000000
#define BITS 2048

typedef struct Fixture {
    char *folder, *key, *next, *passphrase, *pin, *uri;
    KeyFiles files;
} Fixture;

static void write_private(const char *path, const char *text)
{
    g_assert_true(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, NULL));
}

static void set_up(Fixture *f, gconstpointer data)
{
    static const char *const tokens[] = {"relay", NULL};

    f->folder = test_folder_new();
    if (test_softhsm_available())
        test_softhsm_set_up(f->folder, tokens);
    f->uri = test_softhsm_uri("token=relay;object=mine");
    f->key = g_build_filename(f->folder, "key", NULL);
    f->next = g_build_filename(f->folder, "key.next", NULL);
    f->passphrase = g_build_filename(f->folder, "passphrase", NULL);
    f->pin = g_build_filename(f->folder, "pin", NULL);
    f->files = (KeyFiles){f->key, f->passphrase, f->pin, NULL};
    write_private(f->pin, TEST_SOFTHSM_PIN "\n");
}

static void tear_down(Fixture *f, gconstpointer data)
{
    test_folder_remove(f->folder);
    g_free(f->uri);
    g_free(f->key);
    g_free(f->next);
    g_free(f->passphrase);
    g_free(f->pin);
}

static RelayKey *init_token(const Fixture *f)
{
    RelayKey *k = NULL;

    g_assert_cmpint(relay_key_init_token(&f->files, f->uri, BITS, &k), ==, 0);
    return k;
}

static RelayKey *open_key(const Fixture *f)
{
    RelayKey *k = NULL;

    g_assert_cmpint(relay_key_open(&f->files, NULL, &k), ==, 0);
    return k;
}

/* All that the relay does with its key. */
static void expect_works(RelayKey *k)
{
    _cleanup_(secret_freep) Secret *secret = NULL, *got = NULL;
    _cleanup_(buf_done) Buf wrapped = BUF_MAX(1024);
    _cleanup_(online_key_unrefp) OnlineKey *o = NULL;
    _cleanup_(relay_statement_done) RelayStatement s = {0};

    g_assert_cmpint(secret_new_random(32, &secret), ==, 0);
    g_assert_cmpint(relay_key_wrap(k, secret, &wrapped), ==, 0);
    g_assert_cmpint(relay_key_unwrap(k, wrapped.data, wrapped.size, &got), ==, 0);
    g_assert_true(secret_equal(secret, got));
    g_assert_cmpint(relay_key_renew(k, NOW), ==, 0);
    o = relay_key_online(k);
    const char *text = online_key_statement(o);
    g_assert_cmpint(relay_statement_parse(text, strlen(text), relay_key_pin(k), NOW, &s), ==, 0);
}

static void test_token(Fixture *f, gconstpointer data)
{
    _cleanup_(relay_key_freep) RelayKey *made = init_token(f), *found = NULL, *again = NULL;
    GStatBuf st;

    expect_works(made);
    g_assert_cmpint(relay_key_place(&f->files), ==, KEY_IN_TOKEN);
    g_assert_cmpint(g_stat(f->key, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
    found = open_key(f);
    expect_works(found);
    g_assert_cmpmem(relay_key_pin(found), PIN_SIZE, relay_key_pin(made), PIN_SIZE);
    /* one that is there already is taken, and its file is not replaced */
    g_assert_cmpint(relay_key_init_token(&f->files, f->uri, BITS, &again), ==, -EEXIST);
    g_assert_cmpint(g_unlink(f->key), ==, 0);
    again = init_token(f);
    g_assert_cmpmem(relay_key_pin(again), PIN_SIZE, relay_key_pin(made), PIN_SIZE);
}

static void test_file(Fixture *f, gconstpointer data)
{
    _cleanup_(relay_key_freep) RelayKey *k = NULL, *got = NULL, *next = NULL;
    KeyFiles beside = f->files;

    g_assert_cmpint(relay_key_generate(BITS, &k), ==, 0);
    g_assert_cmpint(relay_key_save(k, f->key, f->passphrase), ==, 0);
    g_assert_cmpint(relay_key_place(&f->files), ==, KEY_IN_FILE);
    got = open_key(f);
    g_assert_cmpmem(relay_key_pin(got), PIN_SIZE, relay_key_pin(k), PIN_SIZE);
    g_assert_cmpint(relay_key_make_beside(&f->files, f->next, BITS, &next), ==, 0);
    got = relay_key_free(got);
    beside.key = f->next;
    g_assert_cmpint(relay_key_open(&beside, NULL, &got), ==, 0);
    g_assert_cmpmem(relay_key_pin(got), PIN_SIZE, relay_key_pin(next), PIN_SIZE);
}

/* It does not leave the token, not even for its owner. */
static void test_not_copied(Fixture *f, gconstpointer data)
{
    _cleanup_(relay_key_freep) RelayKey *k = init_token(f), *other = NULL;
    _cleanup_(buf_done) Buf backup = BUF_MAX(CMS_TEXT_SIZE_MAX);
    RsaKey *to;

    g_assert_cmpint(relay_key_generate(BITS, &other), ==, 0);
    to = rsa_key_ref((RsaKey *)(uintptr_t)relay_key_public(other));
    g_assert_cmpint(relay_key_backup(k, &to, 1, &backup), ==, -EOPNOTSUPP);
    g_assert_cmpuint(backup.size, ==, 0);
    g_assert_cmpint(relay_key_save(k, f->next, f->passphrase), ==, -EOPNOTSUPP);
    g_assert_false(g_file_test(f->next, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(f->passphrase, G_FILE_TEST_EXISTS));
    (void)rsa_key_free(to);
}

static void expect_refused(const Fixture *f, int expected, const char *file)
{
    RelayKey *k = NULL;
    const char *about = NULL;

    g_assert_cmpint(relay_key_open(&f->files, &about, &k), ==, expected);
    g_assert_null(k);
    g_assert_cmpstr(about, ==, file);
    g_assert_cmpstr(relay_key_problem(expected), !=, "");
}

static void test_refused(Fixture *f, gconstpointer data)
{
    g_autofree char *uri = NULL;

    /* none is open: who has given the PIN once is logged in, in this process */
    (void)relay_key_free(init_token(f));

    g_assert_true(g_file_get_contents(f->key, &uri, NULL, NULL));
    write_private(f->pin, "999999\n");
    expect_refused(f, HMSG_ERROR_AUTHENTICATION_FAILED, f->pin);
    write_private(f->pin, "\n");
    expect_refused(f, HMSG_ERROR_INVALID_ARGS, f->pin);
    g_assert_cmpint(g_chmod(f->pin, 0644), ==, 0);
    expect_refused(f, HMSG_ERROR_DENIED, f->pin);
    g_assert_cmpint(g_unlink(f->pin), ==, 0);
    expect_refused(f, -ENOENT, f->pin);
    write_private(f->pin, TEST_SOFTHSM_PIN);
    g_assert_cmpint(g_chmod(f->key, 0644), ==, 0);
    expect_refused(f, HMSG_ERROR_DENIED, f->key);
    write_private(f->key, "pkcs11:token=elsewhere\n");
    expect_refused(f, -ENODEV, f->key);
    write_private(f->key, "pkcs11:%%\n");
    expect_refused(f, HMSG_ERROR_INVALID_ARGS, f->key);
    write_private(f->key, "tpm:\n");
    expect_refused(f, -ENOENT, f->passphrase);
    write_private(f->key, uri);
    _cleanup_(relay_key_freep) RelayKey *got = open_key(f);
    expect_works(got);
}

/* A change of keys within the token; the machine stops between the next key's file and the key. */
static void test_changed(Fixture *f, gconstpointer data)
{
    _cleanup_(relay_key_freep) RelayKey *k = init_token(f), *next = NULL, *again = NULL, *now = NULL;
    g_autofree char *promised = test_softhsm_uri("token=relay;object=promised;id=%07"), *text = NULL;
    NextKey made, same;

    write_private(f->next, promised);
    g_assert_cmpint(relay_key_make_next(k, &f->files, BITS, NOW, &next, &made), ==, 0);
    g_assert_true(g_file_get_contents(f->next, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, promised);
    g_assert_cmpint(relay_key_make_next(k, &f->files, BITS, NOW + 9, &again, &same), ==, 0);
    g_assert_cmpmem(same.pin, PIN_SIZE, made.pin, PIN_SIZE);
    g_assert_cmpint(same.since, ==, NOW);
    g_assert_cmpint(relay_key_switch(f->key), ==, 0);
    now = open_key(f);
    g_assert_cmpmem(relay_key_pin(now), PIN_SIZE, relay_key_pin(next), PIN_SIZE);
    expect_works(now);
    /* and once more, with a name of its own */
    next = relay_key_free(next);
    g_assert_cmpint(relay_key_make_next(now, &f->files, BITS, NOW, &next, &made), ==, 0);
    expect_works(next);
    expect_works(now);
}

static RelayKey *init_tpm(Fixture *f, const TestSwtpm *tpm)
{
    RelayKey *k = NULL;

    f->files.tcti = test_swtpm_tcti(tpm);
    g_assert_cmpint(relay_key_init_tpm(&f->files, &k), ==, 0);
    return k;
}

static char *read_key(const Fixture *f)
{
    char *text = NULL;

    g_assert_true(g_file_get_contents(f->key, &text, NULL, NULL));
    return text;
}

static void test_tpm(Fixture *f, gconstpointer data)
{
    g_autoptr(TestSwtpm) tpm = test_swtpm_new(f->folder);
    _cleanup_(relay_key_freep) RelayKey *made = init_tpm(f, tpm), *again = NULL;
    g_autofree char *pin = g_base64_encode(relay_key_pin(made), PIN_SIZE);
    GStatBuf st;

    g_assert_cmpuint(rsa_key_bits(relay_key_public(made)), ==, 2048);
    expect_works(made);
    made = relay_key_free(made); /* one connection at a time */
    g_assert_cmpint(relay_key_place(&f->files), ==, KEY_IN_TPM);
    g_assert_cmpint(g_stat(f->key, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
    g_assert_cmpint(relay_key_init_tpm(&f->files, &again), ==, -EEXIST);
    made = open_key(f);
    expect_works(made);
    g_autofree char *same = g_base64_encode(relay_key_pin(made), PIN_SIZE);
    g_assert_cmpstr(same, ==, pin);
    made = relay_key_free(made);
    /* the machine was off */
    test_swtpm_stop(tpm);
    test_swtpm_start(tpm);
    made = open_key(f);
    expect_works(made);
    g_assert_cmpint(relay_key_save(made, f->next, f->passphrase), ==, -EOPNOTSUPP);
}

/* Another TPM, or one that was cleared, is never taken for the relay's; nor is there a new key by itself. */
static void test_other_tpm(Fixture *f, gconstpointer data)
{
    g_autoptr(TestSwtpm) tpm = test_swtpm_new(f->folder);
    g_autoptr(TestSwtpm) other = test_swtpm_new(NULL);
    RelayKey *k = init_tpm(f, tpm);
    g_autofree char *text = read_key(f), *after = NULL;
    _cleanup_(secret_freep) Secret *secret = NULL, *got = NULL;
    _cleanup_(buf_done) Buf wrapped = BUF_MAX(1024);

    g_assert_cmpint(secret_new_random(32, &secret), ==, 0);
    g_assert_cmpint(relay_key_wrap(k, secret, &wrapped), ==, 0);
    k = relay_key_free(k);
    f->files.tcti = test_swtpm_tcti(other);
    k = open_key(f); /* reads the file only */
    g_assert_cmpint(relay_key_renew(k, NOW), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(relay_key_unwrap(k, wrapped.data, wrapped.size, &got), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_null(got);
    k = relay_key_free(k);
    after = read_key(f);
    g_assert_cmpstr(after, ==, text);
    f->files.tcti = "swtpm:path=/nonexistent";
    k = open_key(f);
    g_assert_cmpint(relay_key_renew(k, NOW), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    (void)relay_key_free(k);
}

static void test_tpm_file(Fixture *f, gconstpointer data)
{
    g_autoptr(TestSwtpm) tpm = test_swtpm_new(f->folder);
    RelayKey *k = init_tpm(f, tpm), *got = NULL;
    g_autofree char *text = read_key(f), *swapped = NULL, *once = NULL;
    char *sign = strstr(text, "-----BEGIN"), *decrypt = strstr(sign + 1, "-----BEGIN");
    g_autofree char *first = g_strndup(text, (gsize)(sign - text)),
                    *a = g_strndup(sign, (gsize)(decrypt - sign));

    swapped = g_strconcat(first, decrypt, a, NULL);
    once = g_strconcat(first, a, NULL);
    const char *const bad[] = {"hmsg relay TPM 2.0 ", "hmsg relay TPM 2.0 AAAA\n", first, once, swapped};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        write_private(f->key, bad[i]);
        g_assert_cmpint(relay_key_open(&f->files, NULL, &got), ==, HMSG_ERROR_BAD_PACKAGE);
    }
    for (size_t n = strlen(text) - 2; n > 97 + 20; n -= 97) {
        g_autofree char *cut = g_strndup(text, n);

        write_private(f->key, cut);
        g_assert_cmpint(relay_key_open(&f->files, NULL, &got), ==, HMSG_ERROR_BAD_PACKAGE);
    }
    g_assert_null(got);
    write_private(f->key, text);
    k = relay_key_free(k);
    k = open_key(f);
    expect_works(k);
    (void)relay_key_free(k);
}

/* With a TPM of one connection: the next key is made while the one of now is closed. */
static void test_tpm_changed(Fixture *f, gconstpointer data)
{
    g_autoptr(TestSwtpm) tpm = test_swtpm_new(f->folder);
    _cleanup_(relay_key_freep) RelayKey *k = init_tpm(f, tpm), *next = NULL;
    KeyFiles beside = f->files;

    k = relay_key_free(k);
    g_assert_cmpint(relay_key_make_beside(&f->files, f->next, 3072, &next), ==, 0);
    expect_works(next);
    g_assert_cmpint(relay_key_make_beside(&f->files, f->next, 3072, &k), ==, -EEXIST);
    g_assert_cmpint(relay_key_switch(f->key), ==, 0);
    beside.key = f->next;
    g_assert_cmpint(relay_key_open(&beside, NULL, &k), ==, -ENOENT);
    uint8_t pin[PIN_SIZE];
    memcpy(pin, relay_key_pin(next), PIN_SIZE);
    next = relay_key_free(next);
    k = open_key(f);
    g_assert_cmpmem(relay_key_pin(k), PIN_SIZE, pin, PIN_SIZE);
    expect_works(k);
}

static bool test_always(void)
{
    return true;
}

static void test_skipped(Fixture *f, gconstpointer data)
{
    g_test_skip("SoftHSM 2 or swtpm is not installed");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(Fixture *, gconstpointer);
        bool (*possible)(void);
    } tests[] = {{"/server/relay-key-open/file", test_file, test_always},
                 {"/server/relay-key-open/token", test_token, test_softhsm_available},
                 {"/server/relay-key-open/not-copied", test_not_copied, test_softhsm_available},
                 {"/server/relay-key-open/refused", test_refused, test_softhsm_available},
                 {"/server/relay-key-open/changed", test_changed, test_softhsm_available},
                 {"/server/relay-key-open/tpm", test_tpm, test_swtpm_available},
                 {"/server/relay-key-open/other-tpm", test_other_tpm, test_swtpm_available},
                 {"/server/relay-key-open/tpm-file", test_tpm_file, test_swtpm_available},
                 {"/server/relay-key-open/tpm-changed", test_tpm_changed, test_swtpm_available}};

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, set_up, tests[i].possible() ? tests[i].test : test_skipped,
                   tear_down);
    return g_test_run();
}
