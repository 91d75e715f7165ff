/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>

#include "agent/identity-files.h"
#include "agent/keyring.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/export.h"
#include "tests/unit/agent/identity-scene.h"

static void test_states(Fixture *f, gconstpointer data)
{
    Identity *i = f->m.identity;
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    const char *help = "";

    g_assert_cmpint(identity_state(i), ==, IDENTITY_NONE);
    g_assert_cmpint(identity_check(i), ==, HMSG_ERROR_NO_IDENTITY);
    g_assert_null(identity_public(i));
    g_assert_cmpstr(identity_tpm_status(i, &help), ==, "ok");
    g_assert_null(help);
    g_assert_nonnull(identity_tpm_facts(i));
    g_assert_cmpint(identity_lock(i), ==, HMSG_ERROR_NO_IDENTITY);
    g_assert_cmpint(identity_delete(i, "x"), ==, HMSG_ERROR_NO_IDENTITY);
    g_assert_cmpint(identity_sign_jws(i, INPUT, scene_jws, NULL, &w), ==, HMSG_ERROR_NO_IDENTITY);
    scene_create(f);
    g_assert_cmpint(identity_state(i), ==, IDENTITY_READY);
    g_assert_cmpint(identity_check(i), ==, 0);
    g_assert_cmpuint(f->changes, >, 0);
    uint64_t epoch = identity_epoch(i);
    unsigned changes = f->changes;
    g_assert_cmpint(identity_lock(i), ==, 0);
    g_assert_cmpint(identity_state(i), ==, IDENTITY_LOCKED);
    g_assert_cmpint(identity_check(i), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpuint(identity_epoch(i), >, epoch);
    g_assert_cmpuint(f->changes, >, changes);
    g_assert_nonnull(identity_public(i));
    g_assert_cmpint(identity_sign_jws(i, INPUT, scene_jws, NULL, &w), ==, HMSG_ERROR_LOCKED);
}

/* Locking takes the session keys with it. */
static void test_lock_sessions(Fixture *f, gconstpointer data)
{
    static const uint8_t key[KEYRING_KEY_SIZE] = {1, 2, 3};
    _cleanup_(secret_freep) Secret *out = NULL;
    KeyringEntry *e = NULL;

    scene_create(f);
    g_assert_cmpint(secret_new(KEYRING_KEY_SIZE, &out), ==, 0);
    g_assert_cmpint(keyring_put(f->m.keyring, key, 3600, &e), ==, 0);
    g_assert_cmpint(keyring_get(f->m.keyring, e, out), ==, 0);
    g_assert_cmpint(identity_lock(f->m.identity), ==, 0);
    g_assert_cmpint(keyring_get(f->m.keyring, e, out), ==, -ENOKEY);
    keyring_drop(f->m.keyring, e);
}

static void test_sign(Fixture *f, gconstpointer data)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    _cleanup_(buf_done) Buf input = BUF_MAX(JWS_SIZE_MAX);
    _cleanup_(identity_statement_done) IdentityStatement statement = {0};
    const IdentityPublic *p;
    g_auto(Said) s = {0};

    scene_create(f);
    p = identity_public(f->m.identity);
    g_assert_cmpint(identity_export_statement(p, "alice@example.org", &input), ==, 0);
    g_assert_cmpint(identity_sign_jws(f->m.identity, buf_text(&input), scene_jws, &s, &w), ==, 0);
    scene_await(f, &s);
    g_assert_cmpint(s.r, ==, 0);
    g_assert_cmpint(identity_statement_parse(s.text, strlen(s.text), (int64_t)time(NULL), &statement), ==, 0);
    g_assert_cmpstr(statement.address, ==, "alice@example.org");
    g_assert_true(rsa_key_equal(statement.sign, p->sign));
    g_assert_true(rsa_key_equal(statement.decrypt, p->decrypt));
}

static void test_sign_form(Fixture *f, gconstpointer data)
{
    static const char *const bad[] = {"", "abc", "a.b.c"};
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;

    scene_create(f);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_cmpint(identity_sign_jws(f->m.identity, bad[i], scene_jws, NULL, &w), ==, -EINVAL);
    g_assert_null(w);
}

static void test_open(Fixture *f, gconstpointer data)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    _cleanup_(identity_work_freep) IdentityWork *w2 = NULL;
    _cleanup_(buf_done) Buf ciphertext = BUF_MAX(RSA_SIZE_MAX);
    g_auto(Said) s = {0};
    g_auto(Said) wrong = {0};
    Identity *i = f->m.identity;

    scene_create(f);
    g_assert_cmpint(rsa_key_oaep_encrypt(identity_public(i)->decrypt, "sixteen bytes ok", 16, &ciphertext),
                    ==, 0);
    g_assert_cmpint(identity_open_pop(i, ciphertext.data, ciphertext.size, scene_plaintext, &s, &w), ==, 0);
    scene_await(f, &s);
    g_assert_cmpint(s.r, ==, 0);
    g_assert_cmpmem(s.plaintext, s.size, "sixteen bytes ok", 16);
    ciphertext.data[100] ^= 1;
    g_assert_cmpint(identity_open_pop(i, ciphertext.data, ciphertext.size, scene_plaintext, &wrong, &w2), ==,
                    0);
    scene_await(f, &wrong);
    g_assert_cmpint(wrong.r, ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(identity_state(i), ==, IDENTITY_READY); /* that is the sender's fault, not the TPM's */
    g_assert_cmpint(identity_open_pop(i, ciphertext.data, 255, scene_plaintext, NULL, NULL), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
}

/* What was on its way when the user locked must not come out, not even after an unlock. */
static void test_epoch(Fixture *f, gconstpointer data)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    _cleanup_(identity_work_freep) IdentityWork *unlock = NULL;
    _cleanup_(buf_done) Buf ciphertext = BUF_MAX(RSA_SIZE_MAX);
    g_auto(Said) s = {0};
    g_auto(Said) unlocked = {0};
    Identity *i = f->m.identity;

    scene_create(f);
    g_assert_cmpint(rsa_key_oaep_encrypt(identity_public(i)->decrypt, "secret", 6, &ciphertext), ==, 0);
    test_swtpm_freeze(f->tpm);
    g_assert_cmpint(identity_open_pop(i, ciphertext.data, ciphertext.size, scene_plaintext, &s, &w), ==, 0);
    g_assert_cmpint(identity_lock(i), ==, 0);
    g_assert_cmpint(identity_unlock(i, NULL, false, scene_done, &unlocked, &unlock), ==, 0);
    test_swtpm_thaw(f->tpm);
    scene_await(f, &s);
    g_assert_cmpint(s.r, ==, HMSG_ERROR_LOCKED);
    while (unlocked.n == 0)
        g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
    g_assert_cmpint(unlocked.r, ==, 0);
    g_assert_cmpint(identity_state(i), ==, IDENTITY_READY);
}

static void test_lock_during_unlock(Fixture *f, gconstpointer data)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    g_auto(Said) s = {0};

    scene_create(f);
    g_assert_cmpint(identity_unlock(f->m.identity, NULL, false, scene_done, &s, &w), ==, 0);
    g_assert_cmpint(identity_lock(f->m.identity), ==, 0);
    scene_await(f, &s);
    g_assert_cmpint(s.r, ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(identity_state(f->m.identity), ==, IDENTITY_LOCKED);
}

/* A cancelled work is silent, and a cancelled creation leaves room for another. */
static void test_cancel(Fixture *f, gconstpointer data)
{
    IdentityWork *w = NULL;
    g_auto(Said) s = {0};

    g_assert_cmpint(identity_create(f->m.identity, NULL, true, scene_done, &s, &w), ==, 0);
    g_assert_cmpint(identity_create(f->m.identity, NULL, true, scene_done, &s, NULL), ==,
                    HMSG_ERROR_ALREADY_EXISTS);
    g_assert_null(identity_work_free(w));
    g_assert_null(identity_work_free(NULL));
    scene_create(f);
    g_assert_cmpint(identity_create(f->m.identity, NULL, true, scene_done, &s, &w), ==,
                    HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(identity_unlock(f->m.identity, NULL, false, scene_done, &s, &w), ==, 0);
    identity_work_free(w);
    g_auto(Said) probed = {0};
    g_assert_cmpint(identity_probe(f->m.identity, scene_done, &probed, &w), ==, 0);
    scene_await(f, &probed);
    identity_work_free(w);
    g_assert_cmpuint(s.n, ==, 0);
}

/* Works may outlive the identity. */
static void test_free_first(Fixture *f, gconstpointer data)
{
    IdentityWork *w = NULL;
    g_auto(Said) s = {0};

    scene_create(f);
    g_assert_cmpint(identity_unlock(f->m.identity, NULL, false, scene_done, &s, &w), ==, 0);
    f->m.identity = identity_free(f->m.identity);
    g_assert_null(identity_work_free(w));
    g_assert_cmpuint(s.n, ==, 0);
}

static void on_change(Identity *i, void *userdata)
{
    unsigned *changes = userdata;

    (*changes)++;
}

static void test_watchers(Fixture *f, gconstpointer data)
{
    unsigned n = 1; /* the fixture's */

    while (identity_watch(f->m.identity, on_change, &f->changes) == 0)
        n++;
    g_assert_cmpuint(n, ==, 8);
}

/* A crash between the steps of making or removing a folder leaves what the next start removes. */
static void test_tidy(Fixture *f, gconstpointer data)
{
    g_autofree char *keys = g_build_filename(f->folder, "keys", NULL);
    g_autofree char *new = g_build_filename(keys, ".new-000b00", NULL);
    g_autofree char *old = g_build_filename(keys, ".old-000b00", NULL);
    g_autofree char *file = g_build_filename(old, "sign.pem", NULL);
    g_autofree char *half = g_build_filename(new, ".decrypt.pem.0123456789abcdef", NULL);

    scene_create(f);
    g_assert_cmpint(g_mkdir_with_parents(new, 0700), ==, 0);
    g_assert_cmpint(g_mkdir_with_parents(old, 0700), ==, 0);
    g_assert_true(g_file_set_contents(file, "x", 1, NULL));
    g_assert_true(g_file_set_contents(half, "x", 1, NULL));
    f->m.identity = identity_free(f->m.identity);
    scene_make(f);
    g_assert_false(g_file_test(new, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(old, G_FILE_TEST_EXISTS));
    g_assert_cmpint(identity_state(f->m.identity), ==, IDENTITY_READY);
}

static void test_pin(Fixture *f, gconstpointer data)
{
    g_auto(Said) s = {0};

    scene_create_with(f, "2580");
    g_assert_true(identity_public(f->m.identity)->has_pin);
    g_assert_cmpint(scene_sign(f), ==, 0);
    scene_restart(f);
    g_assert_cmpint(identity_state(f->m.identity), ==, IDENTITY_LOCKED);
    g_assert_true(identity_public(f->m.identity)->has_pin);
    g_assert_cmpint(scene_sign(f), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(identity_unlock(f->m.identity, NULL, true, scene_done, &s, NULL), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(scene_unlock(f, "2581", false, &s), ==, HMSG_ERROR_LOCKED);
    g_assert_nonnull(strstr(s.text, "PIN is wrong"));
    g_assert_cmpint(identity_state(f->m.identity), ==, IDENTITY_LOCKED);
    g_assert_cmpint(scene_unlock(f, "2580", false, &s), ==, 0);
    g_assert_cmpint(identity_state(f->m.identity), ==, IDENTITY_READY);
    g_assert_cmpint(scene_sign(f), ==, 0);
    g_assert_cmpint(identity_forget(f->m.identity), ==, 0); /* suspend: nothing has to be typed */
    g_assert_cmpint(scene_sign(f), ==, 0);
    g_assert_cmpint(identity_lock(f->m.identity), ==, 0);
    g_assert_cmpint(scene_sign(f), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(scene_unlock(f, "2580", false, &s), ==, 0);
}

/* The last try is left to the user, and costs the TPM nothing until then. */
static void test_last_try(Fixture *f, gconstpointer data)
{
    g_auto(Said) s = {0};
    int r = HMSG_ERROR_LOCKED;

    scene_create_with(f, "2580");
    g_assert_cmpint(identity_lock(f->m.identity), ==, 0);
    for (unsigned i = 0; i < 100 && r == HMSG_ERROR_LOCKED; i++)
        r = scene_unlock(f, "2581", false, &s);
    g_assert_cmpint(r, ==, HMSG_ERROR_TPM_LOCKED_OUT);
    g_assert_nonnull(strstr(s.text, "forgets one failure every"));
    const TpmFacts *facts = identity_tpm_facts(f->m.identity);
    g_assert_false(facts->in_lockout);
    g_assert_cmpuint(facts->lockout_counter + 1, ==, facts->lockout_max);
    g_assert_cmpint(scene_unlock(f, "2580", false, &s), ==, HMSG_ERROR_TPM_LOCKED_OUT);
    g_assert_cmpint(scene_unlock(f, "2580", true, &s), ==, 0);
    g_assert_cmpint(scene_sign(f), ==, 0);
}

/* One at a time: else many would be on their way before the TPM has counted the first. */
static void test_one_try(Fixture *f, gconstpointer data)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    _cleanup_(secret_freep) Secret *pin = NULL;
    g_auto(Said) s = {0};
    g_auto(Said) other = {0};

    scene_create_with(f, "2580");
    g_assert_cmpint(secret_new_copy("2581", 4, &pin), ==, 0);
    g_assert_cmpint(identity_unlock(f->m.identity, pin, false, scene_done, &s, &w), ==, 0);
    g_assert_cmpint(scene_unlock(f, "2580", false, &other), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    scene_await(f, &s);
    g_assert_cmpint(s.r, ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(scene_unlock(f, "2580", false, &other), ==, 0);
}

static void test_set_pin(Fixture *f, gconstpointer data)
{
    g_auto(Said) s = {0};

    scene_create_with(f, "2580");
    g_autofree char *kid = g_strdup(identity_public(f->m.identity)->kid);
    g_assert_cmpint(scene_set_pin(f, NULL, "0852"), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(scene_set_pin(f, "2580", "0852"), ==, 0);
    g_assert_cmpint(scene_sign(f), ==, 0);
    scene_restart(f);
    g_assert_cmpstr(identity_public(f->m.identity)->kid, ==, kid);
    g_assert_cmpint(identity_state(f->m.identity), ==, IDENTITY_LOCKED);
    g_assert_cmpint(scene_unlock(f, "2580", false, &s), ==, HMSG_ERROR_LOCKED);
    /* from locked as well, and to none */
    g_assert_cmpint(scene_set_pin(f, "0852", NULL), ==, 0);
    g_assert_false(identity_public(f->m.identity)->has_pin);
    g_assert_cmpint(scene_sign(f), ==, 0);
    scene_restart(f);
    g_assert_cmpint(identity_state(f->m.identity), ==, IDENTITY_READY);
    g_assert_cmpint(scene_sign(f), ==, 0);
    g_assert_cmpint(scene_set_pin(f, "0852", "2580"), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(scene_set_pin(f, NULL, "2580"), ==, 0);
    g_assert_cmpint(identity_lock(f->m.identity), ==, 0);
    g_assert_cmpint(scene_unlock(f, "2580", false, &s), ==, 0);
}

static void test_no_pin(Fixture *f, gconstpointer data)
{
    g_auto(Said) s = {0};

    scene_create(f);
    g_assert_false(identity_public(f->m.identity)->has_pin);
    g_assert_cmpint(scene_unlock(f, "2580", false, &s), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(scene_set_pin(f, NULL, "2580"), ==, HMSG_ERROR_DENIED); /* nobody would count */
    g_assert_cmpint(scene_sign(f), ==, 0);
}

static void replace(const char *path, const char *from, const char *to)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_autoptr(GString) s = g_string_new(text);
    g_assert_cmpuint(g_string_replace(s, from, to, 0), ==, 1);
    g_assert_true(g_file_set_contents(path, s->str, -1, NULL));
}

/* Nothing of the PIN is in the files, and none of them can be had without the other. */
static void test_pin_files(Fixture *f, gconstpointer data)
{
    scene_create_with(f, "a sentence of several words");
    g_autofree char *srk = g_strndup(identity_public(f->m.identity)->srk_name, 24);
    g_autofree char *facts = g_build_filename(f->folder, "keys", srk, "identity.json", NULL);
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(facts, &text, NULL, NULL));
    g_assert_nonnull(strstr(text, "\"kdf\":\"scrypt\""));
    g_assert_null(strstr(text, "sentence"));
    replace(facts, "\"kdf\":\"scrypt\"", "\"kdf\":\"none\"");
    f->m.identity = identity_free(f->m.identity);
    g_assert_cmpint(identity_new(&f->m, &f->m.identity), ==, 0);
    g_assert_cmpint(identity_state(f->m.identity), ==, IDENTITY_UNAVAILABLE);
    replace(facts, "\"kdf\":\"none\"", "\"kdf\":\"scrypt\"");
    scene_restart(f);
    g_assert_cmpint(identity_state(f->m.identity), ==, IDENTITY_LOCKED);
}

/* Neither a cancelled creation nor a cancelled unlock says anything, wherever it was. */
static void test_pin_cancel(Fixture *f, gconstpointer data)
{
    _cleanup_(secret_freep) Secret *pin = NULL;
    IdentityWork *w = NULL;
    g_auto(Said) s = {0};

    g_assert_cmpint(secret_new_copy("2580", 4, &pin), ==, 0);
    g_assert_cmpint(identity_create(f->m.identity, pin, true, scene_done, &s, &w), ==, 0);
    identity_work_free(w);
    scene_create_with(f, "2580");
    g_assert_cmpint(identity_lock(f->m.identity), ==, 0);
    for (unsigned turns = 0; turns < 4; turns++) {
        g_assert_cmpint(identity_unlock(f->m.identity, pin, false, scene_done, &s, &w), ==, 0);
        for (unsigned i = 0; i < turns && s.n == 0; i++)
            g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
        identity_work_free(w);
        g_assert_cmpint(identity_lock(f->m.identity), ==, 0);
        s.n = 0;
    }
    g_assert_cmpint(identity_unlock(f->m.identity, pin, false, scene_done, &s, &w), ==, 0);
    f->m.identity = identity_free(f->m.identity);
    identity_work_free(w);
    g_assert_cmpuint(s.n, ==, 0);
}

static void test_machine(void)
{
    char a[MACHINE_TEXT_SIZE], b[MACHINE_TEXT_SIZE];
    g_autofree char *id = NULL;

    identity_machine(a);
    identity_machine(b);
    g_assert_cmpstr(a, ==, b);
    /* never the machine's id itself */
    if (g_file_get_contents("/etc/machine-id", &id, NULL, NULL) && strlen(id) > 32 && *a)
        g_assert_cmpint(strncmp(a, id, 32), !=, 0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*f)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/agent/identity/states", test_states},
        {"/agent/identity/lock-sessions", test_lock_sessions},
        {"/agent/identity/sign", test_sign},
        {"/agent/identity/sign-form", test_sign_form},
        {"/agent/identity/open", test_open},
        {"/agent/identity/epoch", test_epoch},
        {"/agent/identity/lock-during-unlock", test_lock_during_unlock},
        {"/agent/identity/cancel", test_cancel},
        {"/agent/identity/free-first", test_free_first},
        {"/agent/identity/watchers", test_watchers},
        {"/agent/identity/tidy", test_tidy},
        {"/agent/identity/pin", test_pin},
        {"/agent/identity/last-try", test_last_try},
        {"/agent/identity/one-try", test_one_try},
        {"/agent/identity/set-pin", test_set_pin},
        {"/agent/identity/no-pin", test_no_pin},
        {"/agent/identity/pin-files", test_pin_files},
        {"/agent/identity/pin-cancel", test_pin_cancel},
    };
    Keyring *k = NULL;

    g_test_init(&argc, &argv, NULL);
    (void)tpm_silence_logs();
    g_test_add_func("/agent/identity/machine", test_machine);
    g_assert_cmpint(keyring_new(&k), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(tests) && test_swtpm_available(); i++)
        g_test_add(tests[i].path, Fixture, k, scene_set_up, tests[i].f, scene_tear_down);
    int r = g_test_run();
    keyring_free(k);
    return r;
}
