/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The store's key between a true identity and its TPM, where the order of things counts. What is left of it
 * on disk, after kills and with other TPMs, is the integration test's. */

#include "agent/vault.h"

#include <string.h>

#include "agent/identity-internal.h"
#include "agent/store.h"
#include "libhmsg/base/error.h"
#include "tests/unit/agent/identity-scene.h"

static int on_tried(int r, void *userdata)
{
    Fixture *f = userdata;

    return r == 0 ? store_new(f->folder, vault_suffix(f->m.vault), vault_seal(f->m.vault), &f->m.store) : 0;
}

static void start(Fixture *f)
{
    bool waits;

    g_assert_cmpint(vault_new(&f->m, on_tried, f, &f->m.vault), ==, 0);
    g_assert_cmpint(vault_start(f->m.vault, &waits), ==, 0);
    g_assert_cmpint(vault_go_on(f->m.vault, &waits), ==, 0);
}

static void stop(Fixture *f)
{
    f->m.store = store_free(f->m.store);
    f->m.vault = vault_free(f->m.vault);
}

static void turn(Fixture *f)
{
    g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
}

/* The identity tells the vault of what changes: both end. key: of the store, that is put back meanwhile. */
static void restart(Fixture *f, const char *key)
{
    g_autofree char *path = g_build_filename(f->folder, "store.key", NULL);

    stop(f);
    f->m.identity = identity_free(f->m.identity);
    if (key)
        g_assert_true(g_file_set_contents(path, key, -1, NULL));
    scene_make(f);
    start(f);
}

static void await_followed(Fixture *f)
{
    while (vault_is_behind(f->m.vault) || !f->m.identity->settled)
        turn(f);
    g_assert_cmpstr(vault_protection(f->m.vault), ==, "tpm");
}

static void rotate(Fixture *f, uint64_t grace)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    IdentityRotation o = {.has_grace = true, .grace = grace};
    g_auto(Said) s = {0};

    g_assert_cmpint(identity_rotate(f->m.identity, &o, scene_done, &s, &w), ==, 0);
    scene_await(f, &s);
    g_assert_cmpint(s.r, ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    stop(f);
    scene_tear_down(f, data);
}

/* While nobody can tell what hangs on a former key it stays, whatever its time. */
static void test_closed(Fixture *f, gconstpointer data)
{
    start(f);
    scene_create(f);
    await_followed(f);
    rotate(f, 3600);
    await_followed(f);
    restart(f, NULL);
    g_assert_false(vault_is_open(f->m.vault));
    f->m.identity->keys->former[0].until = 0;
    g_assert_cmpint(identity_former_destroy(f->m.identity), ==, 0);
    g_assert_cmpuint(identity_former(f->m.identity, NULL), ==, 1);
    while (!vault_is_open(f->m.vault))
        turn(f);
    identity_released(f->m.identity);
    g_assert_cmpuint(identity_former(f->m.identity, NULL), ==, 0);
    await_followed(f);
}

/* A store that was lost is followed by one that is guarded as the first was: the counter waits for it. */
static void test_after_loss(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->folder, "store.key", NULL), *key = NULL;

    start(f);
    scene_create(f);
    await_followed(f);
    g_assert_true(g_file_get_contents(path, &key, NULL, NULL));
    rotate(f, 0);
    g_assert_true(vault_is_behind(f->m.vault));
    g_assert_null(f->m.identity->settling);
    await_followed(f);
    restart(f, key);
    while (strcmp(vault_problem(f->m.vault, NULL), "the TPM has not given its key yet") == 0)
        turn(f);
    g_assert_false(vault_is_open(f->m.vault));
    g_assert_false(vault_may_open(f->m.vault));
    g_assert_cmpint(identity_delete(f->m.identity, identity_public(f->m.identity)->kid), ==, 0);
    g_assert_true(vault_is_open(f->m.vault));
    while (!f->m.identity->settled)
        turn(f);
    scene_create(f);
    await_followed(f);
    rotate(f, 0);
    g_assert_true(vault_is_behind(f->m.vault));
    g_assert_null(f->m.identity->settling);
    await_followed(f);
}

int main(int argc, char **argv)
{
    Keyring *k = NULL;

    g_test_init(&argc, &argv, NULL);
    (void)tpm_silence_logs();
    g_assert_cmpint(keyring_new(&k), ==, 0);
    if (test_swtpm_available()) {
        g_test_add("/agent/vault/closed", Fixture, k, scene_set_up, test_closed, tear_down);
        g_test_add("/agent/vault/after-loss", Fixture, k, scene_set_up, test_after_loss, tear_down);
    }
    int r = g_test_run();
    keyring_free(k);
    return r;
}
