/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A true identity with a TPM of its own, in an event loop, without a bus. */

#include <glib.h>

#include "agent/identity.h"
#include "tests/lib/process.h"
#include "tests/lib/swtpm.h"

#define INPUT "eyJhbGciOiJQUzI1NiJ9.e30"

typedef struct Fixture {
    char *folder;
    TestSwtpm *tpm;
    Manager m;
    unsigned changes; /* told to the watcher */
} Fixture;

/* What a callback said. */
typedef struct Said {
    unsigned n;
    int r;
    char *text; /* detail, or the JWS */
    uint8_t plaintext[64];
    size_t size;
} Said;

void said_clear(Said *s);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Said, said_clear)
void scene_done(int r, const char *detail, void *userdata);
void scene_jws(int r, const char *detail, const char *jws, void *userdata);
void scene_plaintext(int r, const char *detail, const Secret *plaintext, void *userdata);
/* Until the callback was called, which it was not yet. */
void scene_await(Fixture *f, Said *s);
void scene_make(Fixture *f);
/* For g_test_add; data: the keyring. */
void scene_set_up(Fixture *f, gconstpointer data);
void scene_tear_down(Fixture *f, gconstpointer data);
/* Without a PIN. */
void scene_create(Fixture *f);
/* What the work said. */
int scene_unlock(Fixture *f, const char *text, bool force, Said *s);
void scene_create_with(Fixture *f, const char *text);
int scene_sign(Fixture *f);
/* As the end and start of an agent. */
void scene_restart(Fixture *f);
/* Of the same keys; NULL: none. */
int scene_set_pin(Fixture *f, const char *old, const char *new);
