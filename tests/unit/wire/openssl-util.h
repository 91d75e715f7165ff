/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A folder in which the program openssl works with a key of ours, key.pem. */

#include <glib.h>
#include <openssl/pem.h>

#include "tests/lib/person.h"
#include "tests/lib/process.h"

typedef struct Workshop {
    char *folder;
    EVP_PKEY *private_key;
    RsaKey *key;
} Workshop;

static inline void workshop_open(Workshop *w, unsigned bits)
{
    w->folder = test_folder_new();
    w->private_key = test_rsa_new(bits);
    g_assert_cmpint(rsa_key_from_evp(w->private_key, &w->key), ==, 0);
    g_autofree char *path = g_build_filename(w->folder, "key.pem", NULL);
    FILE *file = fopen(path, "we");
    g_assert_nonnull(file);
    g_assert_cmpint(PEM_write_PKCS8PrivateKey(file, w->private_key, NULL, NULL, 0, NULL, NULL), ==, 1);
    g_assert_cmpint(fclose(file), ==, 0);
}

static inline void workshop_close(Workshop *w)
{
    EVP_PKEY_free(w->private_key);
    (void)rsa_key_free(w->key);
    test_folder_remove(w->folder);
}

static inline void save(const Workshop *w, const char *name, const void *data, size_t n)
{
    g_autofree char *path = g_build_filename(w->folder, name, NULL);
    g_autoptr(GError) error = NULL;

    g_file_set_contents(path, data, (gssize)n, &error);
    g_assert_no_error(error);
}

static inline char *load(const Workshop *w, const char *name, size_t *ret_size)
{
    g_autofree char *path = g_build_filename(w->folder, name, NULL);
    g_autoptr(GError) error = NULL;
    char *data = NULL;

    g_file_get_contents(path, &data, ret_size, &error);
    g_assert_no_error(error);
    return data;
}

/* A shell script in the folder, behind what it may call. */
static inline void run_script(const Workshop *w, const char *prelude, const char *script)
{
    g_autofree char *text = g_strconcat(prelude, script, NULL), *said = NULL;
    char shell[] = "sh", option[] = "-ec", *argv[] = {shell, option, text, NULL};
    g_autoptr(GError) error = NULL;
    int status = 0;

    g_spawn_sync(w->folder, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, &said, &status, &error);
    g_assert_no_error(error);
    if (!g_spawn_check_wait_status(status, NULL))
        g_error("%s: %s", script, said);
}
