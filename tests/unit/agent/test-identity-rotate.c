/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/identity-internal.h"
#include "agent/keyring.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/statement.h"
#include "tests/unit/agent/identity-scene.h"

#define TEXT "sixteen bytes ok"
#define GRACE 3600u
#define TURNS 40u

/* What was encrypted to a key while it was that of now. */
typedef struct Letter {
    uint8_t kid[KID_SIZE];
    Buf ciphertext;
} Letter;

static void letter_clear(Letter *l)
{
    buf_done(&l->ciphertext);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Letter, letter_clear)

static void letter_write(Fixture *f, Letter *l)
{
    const IdentityPublic *p = identity_public(f->m.identity);

    l->ciphertext = BUF_MAX(RSA_SIZE_MAX);
    memcpy(l->kid, p->kid_bytes, KID_SIZE);
    g_assert_cmpint(rsa_key_oaep_encrypt(p->decrypt, TEXT, strlen(TEXT), &l->ciphertext), ==, 0);
}

static int letter_open(Fixture *f, const Letter *l)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    g_auto(Said) s = {0};
    int r =
        identity_open(f->m.identity, l->kid, l->ciphertext.data, l->ciphertext.size, scene_plaintext, &s, &w);

    if (r == 0)
        scene_await(f, &s);
    if (r == 0 && s.r == 0)
        g_assert_cmpmem(s.plaintext, s.size, TEXT, strlen(TEXT));
    return r == 0 ? s.r : r;
}

static int rotate(Fixture *f, uint64_t grace, bool bind)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    IdentityRotation o = {.has_grace = true, .grace = grace, .bind = bind};
    g_auto(Said) s = {0};
    int r = identity_rotate(f->m.identity, &o, scene_done, &s, &w);

    if (r == 0)
        scene_await(f, &s);
    return r == 0 ? s.r : r;
}

static void run_until_settled(Fixture *f)
{
    while (!f->m.identity->settled)
        g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
}

static uint64_t counter_value(Fixture *f, const TpmCounter *c);

/* What the n-th statement says, signed by from. */
static void expect_rotation(Fixture *f, size_t n, const RsaKey *from, RotateStatement *ret)
{
    const char *jws = identity_rotation(f->m.identity, n);

    g_assert_nonnull(jws);
    g_assert_cmpint(rotate_statement_parse(jws, strlen(jws), from, (int64_t)time(NULL), ret), ==, 0);
}

static void test_rotate(Fixture *f, gconstpointer data)
{
    const IdentityPublic *p;
    RotateStatement first, second;
    g_auto(Letter) one = {0}, two = {0}, three = {0};
    int64_t until = 0;

    scene_create(f);
    p = identity_public(f->m.identity);
    g_assert_true(p->bound);
    g_assert_null(identity_rotation(f->m.identity, 0));
    _cleanup_(rsa_key_freep) RsaKey *old = rsa_key_ref(p->sign);
    g_autofree char *skid = g_strdup(p->skid);
    uint64_t generation = p->generation, epoch = identity_epoch(f->m.identity);
    unsigned changes = f->changes;
    letter_write(f, &one);
    g_assert_cmpint(rotate(f, GRACE, false), ==, 0);
    g_assert_cmpuint(f->changes, >, changes);
    g_assert_cmpuint(identity_epoch(f->m.identity), ==, epoch); /* what is under way goes on */
    p = identity_public(f->m.identity);
    g_assert_cmpuint(p->generation, ==, generation + 1);
    g_assert_cmpstr(p->skid, !=, skid);
    expect_rotation(f, 0, old, &first);
    g_assert_cmpmem(first.next_skid, KID_SIZE, p->skid_bytes, KID_SIZE);
    g_assert_cmpmem(first.next_kid, KID_SIZE, p->kid_bytes, KID_SIZE);
    g_assert_cmpuint(first.generation, ==, p->generation);
    g_assert_null(identity_rotation(f->m.identity, 1));
    _cleanup_(rsa_key_freep) RsaKey *middle = rsa_key_ref(p->sign);
    letter_write(f, &two);
    g_assert_cmpint(rotate(f, GRACE, false), ==, 0);
    letter_write(f, &three);
    for (unsigned start = 0; start < 2; start++) {
        expect_rotation(f, 0, old, &first);
        expect_rotation(f, 1, middle, &second);
        g_assert_cmpmem(first.next_skid, KID_SIZE, second.skid, KID_SIZE);
        g_assert_cmpuint(identity_former(f->m.identity, &until), ==, 2);
        g_assert_cmpint(until, >, (int64_t)time(NULL));
        g_assert_true(identity_is_ours(f->m.identity, skid));
        g_assert_cmpint(scene_sign(f), ==, 0);
        g_assert_cmpint(letter_open(f, &one), ==, 0);
        g_assert_cmpint(letter_open(f, &two), ==, 0);
        g_assert_cmpint(letter_open(f, &three), ==, 0);
        scene_restart(f);
    }
}

static char *key_folder(Fixture *f)
{
    g_autofree char *name = g_strndup(identity_public(f->m.identity)->srk_name, 24);

    return g_build_filename(f->folder, "keys", name, NULL);
}

/* Puts a copy of the key folder back; the agent starts with it. */
static void restore(Fixture *f, const char *copy)
{
    g_autofree char *folder = key_folder(f);

    f->m.identity = identity_free(f->m.identity);
    test_folder_copy(copy, folder);
    scene_make(f);
}

/* A copy of the files from before is of no use once the keys were destroyed, though this TPM made them. */
static void test_destroy(Fixture *f, gconstpointer data)
{
    g_autofree char *copy = g_build_filename(f->folder, "copy", NULL);
    g_auto(Letter) one = {0}, two = {0};

    scene_create(f);
    g_autofree char *folder = key_folder(f);
    letter_write(f, &one);
    test_folder_copy(folder, copy);
    /* while the former key lives, so does the copy */
    g_assert_cmpint(rotate(f, GRACE, false), ==, 0);
    letter_write(f, &two);
    restore(f, copy);
    run_until_settled(f);
    g_assert_cmpint(letter_open(f, &one), ==, 0);
    g_assert_cmpint(rotate(f, 0, false), ==, 0);
    g_assert_cmpuint(identity_former(f->m.identity, NULL), ==, 0);
    g_assert_cmpint(letter_open(f, &one), ==, HMSG_ERROR_NOT_FOR_US);
    run_until_settled(f);
    restore(f, copy);
    g_assert_cmpint(letter_open(f, &one), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(scene_sign(f), ==, HMSG_ERROR_NOT_FOUND);
    /* an answer of the TPM is no reason to remove a file */
    g_assert_true(g_file_test(folder, G_FILE_TEST_IS_DIR));
}

/* The end of the time, and a crash between the files and the counter. */
static void test_grace(Fixture *f, gconstpointer data)
{
    g_auto(Letter) one = {0}, two = {0};

    scene_create(f);
    letter_write(f, &one);
    TpmCounter c = f->m.identity->keys->counter;
    uint64_t before = counter_value(f, &c);
    g_assert_cmpint(rotate(f, 1, false), ==, 0);
    letter_write(f, &two);
    while (identity_former(f->m.identity, NULL) > 0)
        g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
    g_assert_cmpint(letter_open(f, &one), ==, HMSG_ERROR_NOT_FOR_US);
    f->m.identity = identity_free(f->m.identity);
    scene_make(f);
    run_until_settled(f);
    g_assert_cmpuint(counter_value(f, &c), ==, before + 1);
    g_assert_cmpint(letter_open(f, &two), ==, 0);
}

static void note_counter(TpmAnswer *a, void *userdata)
{
    Said *s = userdata;

    s->n++;
    s->r = a->r;
    s->size = (size_t)a->counter_value;
}

/* 0: it is not there. */
static uint64_t counter_value(Fixture *f, const TpmCounter *c)
{
    g_auto(Said) s = {0};

    g_assert_cmpint(tpm_runner_counter_read(f->m.identity->runner, c, note_counter, &s, NULL), ==, 0);
    identity_arm(f->m.identity);
    scene_await(f, &s);
    if (s.r != 0)
        g_assert_cmpint(s.r, ==, HMSG_ERROR_NOT_FOUND);
    return s.r == 0 ? s.size : 0;
}

static int set_pin(Fixture *f, const char *old, const char *new)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    _cleanup_(secret_freep) Secret *pin = NULL, *next = NULL;
    IdentityRotation o = {.has_grace = true, .grace = GRACE};
    g_auto(Said) s = {0};
    int r;

    if (old)
        g_assert_cmpint(secret_new_copy(old, strlen(old), &pin), ==, 0);
    if (new)
        g_assert_cmpint(secret_new_copy(new, strlen(new), &next), ==, 0);
    r = identity_set_pin(f->m.identity, pin, next, false, &o, scene_done, &s, &w);
    if (r == 0)
        scene_await(f, &s);
    return r == 0 ? s.r : r;
}

/* New keys under the new PIN, and former ones that follow. */
static void test_pin(Fixture *f, gconstpointer data)
{
    g_autofree char *copy = g_build_filename(f->folder, "copy", NULL);
    g_auto(Letter) one = {0}, two = {0};
    g_auto(Said) s = {0};

    scene_create_with(f, "2580");
    g_autofree char *folder = key_folder(f);
    test_folder_copy(folder, copy);
    letter_write(f, &one);
    g_assert_cmpint(set_pin(f, "2580", "0852"), ==, 0);
    letter_write(f, &two);
    g_assert_cmpmem(one.kid, KID_SIZE, f->m.identity->keys->former[0].kid, KID_SIZE);
    scene_restart(f);
    g_assert_cmpint(scene_unlock(f, "2580", false, &s), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(scene_unlock(f, "0852", false, &s), ==, 0);
    g_assert_cmpint(letter_open(f, &one), ==, 0);
    g_assert_cmpint(letter_open(f, &two), ==, 0);
    g_assert_cmpint(rotate(f, GRACE, false), ==, 0); /* the PIN stays */
    g_assert_true(identity_public(f->m.identity)->has_pin);
    scene_restart(f);
    g_assert_cmpint(scene_unlock(f, "0852", false, &s), ==, 0);
    g_assert_cmpint(letter_open(f, &two), ==, 0);
    g_assert_cmpint(scene_set_pin(f, "0852", "1470"), ==,
                    0); /* of the same keys: the former ones follow too */
    g_assert_cmpint(letter_open(f, &one), ==, 0);
    /* and to none */
    g_assert_cmpint(set_pin(f, "1470", NULL), ==, 0);
    scene_restart(f);
    g_assert_cmpint(identity_state(f->m.identity), ==, IDENTITY_READY);
    g_assert_cmpint(letter_open(f, &one), ==, 0);
    g_assert_cmpint(letter_open(f, &two), ==, 0);
    /* who has the old files, this TPM and the PIN of then */
    g_assert_cmpint(rotate(f, 0, false), ==, 0);
    run_until_settled(f);
    restore(f, copy);
    g_assert_cmpint(identity_state(f->m.identity), ==, IDENTITY_LOCKED);
    g_assert_cmpint(scene_unlock(f, "2580", false, &s), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(s.text, "destroyed"));
}

/* New keys and another PIN of those of now at the same time: one of them is done, and nothing is lost. */
static void test_pin_meanwhile(Fixture *f, gconstpointer data)
{
    IdentityRotation o = {.has_grace = true, .grace = GRACE};
    g_auto(Letter) one = {0}, two = {0};
    bool overtaken = false;

    scene_create_with(f, "2580");
    letter_write(f, &one);
    g_assert_cmpint(rotate(f, GRACE, false), ==, 0);
    letter_write(f, &two);
    for (unsigned turns = 0; turns < TURNS && !overtaken; turns++) {
        _cleanup_(identity_work_freep) IdentityWork *rotating = NULL, *changing = NULL;
        _cleanup_(secret_freep) Secret *pin = NULL, *next = NULL;
        g_auto(Said) rotated = {0}, changed = {0}, unlocked = {0};
        g_auto(Letter) last = {0};

        g_assert_cmpint(secret_new_copy("2580", 4, &pin), ==, 0);
        g_assert_cmpint(secret_new_copy("0852", 4, &next), ==, 0);
        g_assert_cmpint(
            identity_set_pin(f->m.identity, pin, next, false, NULL, scene_done, &changed, &changing), ==, 0);
        for (unsigned i = 0; i < turns && changed.n == 0; i++)
            g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
        overtaken = changed.n > 0;
        g_autofree char *kid = g_strdup(identity_public(f->m.identity)->kid);
        rotated.r = identity_rotate(f->m.identity, &o, scene_done, &rotated, &rotating);
        while ((rotated.r == 0 && rotated.n == 0) || changed.n == 0)
            g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
        g_assert_cmpint(rotated.r == 0, ==, strcmp(kid, identity_public(f->m.identity)->kid) != 0);
        g_assert_true(rotated.r == 0 || rotated.r == HMSG_ERROR_QUOTA_EXCEEDED);
        g_assert_true(changed.r == 0 || changed.r == HMSG_ERROR_QUOTA_EXCEEDED);
        g_assert_true(rotated.r == 0 || changed.r == 0);
        letter_write(f, &last);
        scene_restart(f);
        g_assert_cmpint(scene_unlock(f, changed.r == 0 ? "0852" : "2580", false, &unlocked), ==, 0);
        g_assert_cmpint(letter_open(f, &one), ==, 0);
        g_assert_cmpint(letter_open(f, &two), ==, 0);
        g_assert_cmpint(letter_open(f, &last), ==, 0);
        g_assert_cmpint(scene_sign(f), ==, 0);
        if (changed.r == 0)
            g_assert_cmpint(scene_set_pin(f, "0852", "2580"), ==, 0);
    }
    g_assert_true(overtaken);
}

/* A key that ends while the counter is being raised for the one before. */
static void test_destroy_meanwhile(Fixture *f, gconstpointer data)
{
    Identity *i;

    scene_create(f);
    g_assert_cmpint(rotate(f, GRACE, false), ==, 0);
    g_assert_cmpint(rotate(f, GRACE, false), ==, 0);
    i = f->m.identity;
    run_until_settled(f);
    TpmCounter c = i->keys->counter;
    uint64_t before = counter_value(f, &c);
    for (unsigned n = 0; n < 2; n++) {
        i->keys->former[0].until = 0;
        g_assert_cmpint(identity_former_destroy(i), ==, 0);
        identity_settle(i);
        g_assert_nonnull(i->settling);
    }
    g_assert_cmpuint(identity_former(i, NULL), ==, 0);
    run_until_settled(f);
    g_assert_null(i->settling);
    g_assert_cmpuint(counter_value(f, &c), ==, before + 2);
}

/* One made without a PIN can have one from the next keys on. */
static void test_pin_later(Fixture *f, gconstpointer data)
{
    g_auto(Letter) one = {0};
    g_auto(Said) s = {0};

    scene_create(f);
    letter_write(f, &one);
    g_assert_cmpint(set_pin(f, NULL, "2580"), ==, 0);
    scene_restart(f);
    g_assert_cmpint(letter_open(f, &one), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(scene_unlock(f, "2580", false, &s), ==, 0);
    g_assert_cmpint(letter_open(f, &one), ==, 0);
    g_assert_cmpint(scene_sign(f), ==, 0);
}

static void create_unbound(Fixture *f)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    g_auto(Said) s = {0};

    g_assert_cmpint(identity_create(f->m.identity, NULL, false, scene_done, &s, &w), ==, 0);
    scene_await(f, &s);
    g_assert_cmpint(s.r, ==, 0);
}

static void test_unbound(Fixture *f, gconstpointer data)
{
    g_auto(Letter) one = {0}, two = {0};

    create_unbound(f);
    g_assert_false(identity_public(f->m.identity)->bound);
    letter_write(f, &one);
    g_assert_cmpint(rotate(f, GRACE, false), ==, 0);
    g_assert_false(identity_public(f->m.identity)->bound);
    g_assert_cmpuint(identity_public(f->m.identity)->generation, ==, 2);
    letter_write(f, &two);
    g_assert_cmpint(rotate(f, GRACE, true), ==, 0);
    g_assert_true(identity_public(f->m.identity)->bound);
    g_assert_cmpuint(identity_public(f->m.identity)->generation, >=, 3);
    scene_restart(f);
    run_until_settled(f);
    g_assert_cmpint(scene_sign(f), ==, 0);
    g_assert_cmpint(letter_open(f, &one), ==, 0);
    g_assert_cmpint(letter_open(f, &two), ==, 0);
    g_assert_cmpint(rotate(f, 0, true), ==, 0);
    g_assert_cmpuint(identity_former(f->m.identity, NULL), ==, 0);
}

/* The counter goes with the identity: not even a copy of the files is left of it. */
static void test_delete(Fixture *f, gconstpointer data)
{
    g_autofree char *copy = g_build_filename(f->folder, "copy", NULL);
    g_auto(Letter) one = {0};

    scene_create(f);
    g_autofree char *folder = key_folder(f);
    g_assert_cmpint(rotate(f, GRACE, false), ==, 0);
    letter_write(f, &one);
    test_folder_copy(folder, copy);
    TpmCounter c = f->m.identity->keys->counter;
    g_assert_cmpuint(counter_value(f, &c), >, 0);
    g_assert_cmpint(identity_delete(f->m.identity, identity_public(f->m.identity)->kid), ==, 0);
    run_until_settled(f);
    g_assert_cmpuint(counter_value(f, &c), ==, 0);
    f->m.identity = identity_free(f->m.identity);
    test_folder_copy(copy, folder);
    scene_make(f);
    g_assert_cmpint(letter_open(f, &one), ==, HMSG_ERROR_NOT_FOUND);
}

/* Cut short anywhere, nothing is left in the TPM, and there is room for another. */
static void test_cut_short(Fixture *f, gconstpointer data)
{
    for (unsigned turns = 0; turns < TURNS; turns++) {
        IdentityWork *w = NULL;
        SpareCounter spare = {0};
        g_auto(Said) s = {0};

        g_assert_cmpint(identity_create(f->m.identity, NULL, true, scene_done, &s, &w), ==, 0);
        for (unsigned i = 0; i < turns && s.n == 0; i++)
            g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
        identity_work_free(w);
        if (s.n > 0)
            break;
        int r = identity_spare_load(f->m.data_fd, f->m.identity->facts.srk_name, &spare);
        scene_restart(f);
        run_until_settled(f);
        if (r == 0)
            g_assert_cmpuint(counter_value(f, &spare.counter), ==, 0);
        g_assert_cmpint(identity_spare_load(f->m.data_fd, f->m.identity->facts.srk_name, &spare), ==,
                        -ENOENT);
        g_assert_cmpint(identity_state(f->m.identity), ==, IDENTITY_NONE);
    }
    g_assert_cmpint(identity_state(f->m.identity), ==, IDENTITY_READY);
}

/* A rotation that is cut short, by its caller or by a lock, leaves the keys as they are. */
static void test_interrupted(Fixture *f, gconstpointer data)
{
    IdentityRotation o = {.has_grace = true, .grace = GRACE};
    g_auto(Letter) one = {0};
    bool rotated = false;

    scene_create(f);
    letter_write(f, &one);
    for (unsigned turns = 0; turns < TURNS && !rotated; turns++) {
        IdentityWork *w = NULL;
        g_auto(Said) s = {0};

        g_assert_cmpint(identity_rotate(f->m.identity, &o, scene_done, &s, &w), ==, 0);
        g_assert_cmpint(rotate(f, GRACE, false), ==, HMSG_ERROR_QUOTA_EXCEEDED);
        for (unsigned i = 0; i < turns && s.n == 0; i++)
            g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
        if (s.n == 0 && turns % 2 == 0) {
            g_assert_cmpint(identity_lock(f->m.identity), ==, 0);
            scene_await(f, &s);
            g_assert_cmpint(s.r, ==, HMSG_ERROR_LOCKED);
        }
        rotated = s.n > 0 && s.r == 0;
        identity_work_free(w);
        scene_restart(f);
        g_assert_cmpint(memcmp(identity_public(f->m.identity)->kid_bytes, one.kid, KID_SIZE) == 0, ==,
                        !rotated);
        g_assert_cmpint(letter_open(f, &one), ==, 0);
    }
    g_assert_true(rotated);
}

static void test_arguments(Fixture *f, gconstpointer data)
{
    IdentityRotation o = {.has_grace = true, .grace = IDENTITY_GRACE_MAX + 1};

    g_assert_cmpint(rotate(f, GRACE, false), ==, HMSG_ERROR_NO_IDENTITY);
    scene_create(f);
    g_assert_cmpint(identity_rotate(f->m.identity, &o, scene_done, NULL, NULL), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(identity_lock(f->m.identity), ==, 0);
    g_assert_cmpint(rotate(f, GRACE, false), ==, HMSG_ERROR_LOCKED);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*f)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/agent/identity/rotate", test_rotate},
        {"/agent/identity/rotate/destroy", test_destroy},
        {"/agent/identity/rotate/grace", test_grace},
        {"/agent/identity/rotate/pin", test_pin},
        {"/agent/identity/rotate/pin-meanwhile", test_pin_meanwhile},
        {"/agent/identity/rotate/destroy-meanwhile", test_destroy_meanwhile},
        {"/agent/identity/rotate/pin-later", test_pin_later},
        {"/agent/identity/rotate/unbound", test_unbound},
        {"/agent/identity/rotate/delete", test_delete},
        {"/agent/identity/rotate/cut-short", test_cut_short},
        {"/agent/identity/rotate/interrupted", test_interrupted},
        {"/agent/identity/rotate/arguments", test_arguments},
    };
    Keyring *k = NULL;

    g_test_init(&argc, &argv, NULL);
    (void)tpm_silence_logs();
    g_assert_cmpint(keyring_new(&k), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(tests) && test_swtpm_available(); i++)
        g_test_add(tests[i].path, Fixture, k, scene_set_up, tests[i].f, scene_tear_down);
    int r = g_test_run();
    keyring_free(k);
    return r;
}
