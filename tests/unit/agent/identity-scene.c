/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/agent/identity-scene.h"

#include <fcntl.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"

void said_clear(Said *s)
{
    g_free(s->text);
}
void scene_done(int r, const char *detail, void *userdata)
{
    Said *s = userdata;

    s->n++;
    s->r = r;
    g_free(s->text);
    s->text = g_strdup(detail);
}

void scene_jws(int r, const char *detail, const char *jws, void *userdata)
{
    scene_done(r, r == 0 ? jws : detail, userdata);
}

void scene_plaintext(int r, const char *detail, const Secret *plaintext, void *userdata)
{
    Said *s = userdata;

    scene_done(r, detail, s);
    g_assert_cmpint(r == 0, ==, plaintext != NULL);
    if (plaintext) {
        s->size = secret_size(plaintext);
        g_assert_cmpuint(s->size, <=, sizeof(s->plaintext));
        memcpy(s->plaintext, secret_bytes(plaintext), s->size);
    }
}

static void on_change(Identity *i, void *userdata)
{
    unsigned *changes = userdata;

    (*changes)++;
}

void scene_await(Fixture *f, Said *s)
{
    unsigned before = s->n;

    g_assert_cmpuint(before, ==, 0); /* never inside the call that began it */
    while (s->n == 0)
        g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
    g_assert_cmpuint(s->n, ==, 1);
}

void scene_make(Fixture *f)
{
    g_auto(Said) known = {0};

    g_assert_cmpint(identity_new(&f->m, &f->m.identity), ==, 0);
    g_assert_cmpint(identity_watch(f->m.identity, on_change, &f->changes), ==, 0);
    g_assert_cmpint(identity_start(f->m.identity, scene_done, &known), ==, 0);
    scene_await(f, &known);
    g_assert_cmpint(known.r, ==, 0);
}

void scene_set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->tpm = test_swtpm_new(f->folder);
    f->m.places.data_dir = f->folder;
    f->m.places.tcti = (char *)(uintptr_t)test_swtpm_tcti(f->tpm);
    f->m.data_fd = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_assert_cmpint(f->m.data_fd, >=, 0);
    g_assert_cmpint(sd_event_new(&f->m.event), >=, 0);
    /* the clock is believed at once */
    g_autofree char *config = g_build_filename(f->folder, "agent.conf", NULL);
    g_assert_true(g_file_set_contents(config, "[keys]\npatience = 0\n", -1, NULL));
    g_assert_cmpint(config_load(config, &f->m.config, NULL), ==, 0);
    f->m.keyring = (Keyring *)(uintptr_t)data; /* a process has but one */
    scene_make(f);
}

void scene_tear_down(Fixture *f, gconstpointer data)
{
    identity_free(f->m.identity);
    sd_event_unref(f->m.event);
    config_free(f->m.config);
    fd_close(f->m.data_fd);
    test_swtpm_free(f->tpm);
    test_folder_remove(f->folder);
}

void scene_create(Fixture *f)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    g_auto(Said) s = {0};

    g_assert_cmpint(identity_create(f->m.identity, NULL, true, scene_done, &s, &w), ==, 0);
    scene_await(f, &s);
    g_assert_cmpint(s.r, ==, 0);
}

int scene_unlock(Fixture *f, const char *text, bool force, Said *s)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    _cleanup_(secret_freep) Secret *pin = NULL;
    int r;

    said_clear(s);
    *s = (Said){0};
    g_assert_cmpint(secret_new_copy(text, strlen(text), &pin), ==, 0);
    r = identity_unlock(f->m.identity, pin, force, scene_done, s, &w);
    if (r == 0)
        scene_await(f, s);
    return r == 0 ? s->r : r;
}

void scene_create_with(Fixture *f, const char *text)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    _cleanup_(secret_freep) Secret *pin = NULL;
    g_auto(Said) s = {0};

    g_assert_cmpint(secret_new_copy(text, strlen(text), &pin), ==, 0);
    g_assert_cmpint(identity_create(f->m.identity, pin, true, scene_done, &s, &w), ==, 0);
    scene_await(f, &s);
    g_assert_cmpint(s.r, ==, 0);
}

int scene_sign(Fixture *f)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    g_auto(Said) s = {0};
    int r = identity_sign_jws(f->m.identity, INPUT, scene_jws, &s, &w);

    if (r == 0)
        scene_await(f, &s);
    return r == 0 ? s.r : r;
}

void scene_restart(Fixture *f)
{
    f->m.identity = identity_free(f->m.identity);
    scene_make(f);
}

int scene_set_pin(Fixture *f, const char *old, const char *new)
{
    _cleanup_(identity_work_freep) IdentityWork *w = NULL;
    _cleanup_(secret_freep) Secret *pin = NULL, *next = NULL;
    g_auto(Said) s = {0};
    int r;

    if (old)
        g_assert_cmpint(secret_new_copy(old, strlen(old), &pin), ==, 0);
    if (new)
        g_assert_cmpint(secret_new_copy(new, strlen(new), &next), ==, 0);
    r = identity_set_pin(f->m.identity, pin, next, false, NULL, scene_done, &s, &w);
    if (r == 0)
        scene_await(f, &s);
    return r == 0 ? s.r : r;
}
