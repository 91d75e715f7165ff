/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/vault-file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "libhmsg/db/seal.h"
#include "tests/lib/process.h"

#define NAME "store.key"

typedef struct Fixture {
    char *folder, *path;
    int fd;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->path = g_build_filename(f->folder, NAME, NULL);
    f->fd = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_assert_cmpint(f->fd, >=, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void)fd_close(f->fd);
    test_folder_remove(f->folder);
    g_free(f->path);
}

static VaultKeys two_keys(void)
{
    VaultKeys k = {.n = 2};

    for (unsigned i = 0; i < k.n; i++)
        g_assert_cmpint(secret_new_random(DB_SEAL_KEY_SIZE, &k.keys[i].key), ==, 0);
    return k;
}

static void test_stored(Fixture *f, gconstpointer data)
{
    VaultKeys k = two_keys(), again = {.n = 0};
    GStatBuf st;

    g_assert_cmpint(vault_file_load(f->fd, NAME, &again), ==, -ENOENT);
    g_assert_cmpint(vault_file_store(f->fd, NAME, &k), ==, 0);
    g_assert_cmpint(g_stat(f->path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777, ==, 0600);
    g_assert_cmpint(vault_file_load(f->fd, NAME, &again), ==, 0);
    g_assert_cmpuint(again.n, ==, 2);
    for (unsigned i = 0; i < k.n; i++)
        g_assert_true(secret_equal(k.keys[i].key, again.keys[i].key));
    vault_keys_done(&k);
    vault_keys_done(&again);
}

/* A key that is given up is overwritten; who has its file open sees that. */
static void test_wiped(Fixture *f, gconstpointer data)
{
    g_autofree char *old = g_strconcat(f->path, ".old", NULL);
    VaultKeys k = two_keys(), again = {.n = 0}, rest = {.n = 1};
    g_autofree char *before = NULL, *after = NULL;
    int fd;

    g_assert_cmpint(vault_file_store(f->fd, NAME, &k), ==, 0);
    g_assert_true(g_file_get_contents(f->path, &before, NULL, NULL));
    fd = open(f->path, O_RDONLY | O_CLOEXEC);
    rest.keys[0] = k.keys[1];
    g_assert_cmpint(vault_file_store(f->fd, NAME, &rest), ==, 0);
    after = g_malloc0(strlen(before) + 1);
    g_assert_cmpint(pread(fd, after, strlen(before), 0), ==, (ssize_t)strlen(before));
    g_assert_cmpstr(after, ==, ""); /* zeros */
    (void)fd_close(fd);
    g_assert_false(g_file_test(old, G_FILE_TEST_EXISTS));

    /* what a crash left goes with the next load */
    g_assert_true(g_file_set_contents(old, "old", -1, NULL));
    g_assert_cmpint(vault_file_load(f->fd, NAME, &again), ==, 0);
    g_assert_false(g_file_test(old, G_FILE_TEST_EXISTS));
    g_assert_cmpuint(again.n, ==, 1);
    g_assert_true(secret_equal(again.keys[0].key, k.keys[1].key));
    vault_keys_done(&k);
    vault_keys_done(&again);
}

static void test_damaged(Fixture *f, gconstpointer data)
{
    static const char *const texts[] = {
        "",
        "{}",
        "[]",
        "{\"version\":1,\"keys\":[]}",
        "{\"version\":2,\"keys\":[{\"key\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}",
        "{\"version\":1,\"keys\":[{\"key\":\"AAAA\"}]}",
        "{\"version\":1,\"keys\":[{\"key\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"more\":1}]}",
        "{\"version\":1,\"keys\":[7]}",
        "{\"version\":1,\"keys\":[{\"sealed\":\"AAAA\"}]}",
        "{\"version\":1,\"keys\":[{\"sealed\":\"AAAA\",\"key\":"
        "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}",
        "{\"version\":1,\"keys\":[{},{},{}]}",
    };
    VaultKeys k = {.n = 0};

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_assert_true(g_file_set_contents(f->path, texts[i], -1, NULL));
        g_test_message("%s", texts[i]);
        g_assert_cmpint(vault_file_load(f->fd, NAME, &k), ==, -EBADMSG);
        g_assert_cmpuint(k.n, ==, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add("/vault-file/" name, Fixture, NULL, set_up, test, tear_down)
    ADD("stored", test_stored);
    ADD("wiped", test_wiped);
    ADD("damaged", test_damaged);
    return g_test_run();
}
