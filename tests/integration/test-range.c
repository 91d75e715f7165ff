/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* hmsgctl decrypt --range: some bytes out of a large file. */

#include <string.h>

#include "tests/integration/mail.h"

#define TEXT "What was there"

enum { DONE = 0, USAGE = 2, FORGED = 5, UNTRUSTED = 8 };

/* identity export; "key:FILE", to be freed. */
static char *key_of(Scene *s, SceneUser *u, const char *name)
{
    g_autofree char *path = scene_path(s, name);

    scene_ctl_expect(u, DONE, "identity", "create", NULL);
    scene_ctl_expect(u, DONE, "identity", "export", "--format=pem", "-o", path, NULL);
    return g_strconcat("key:", path, NULL);
}

/* decrypt --range of a stream; what comes out is to be freed. */
static char *range_of(SceneUser *u, int expected, const char *file, const char *range, const char *option,
                      char **ret_err)
{
    char *out = NULL;
    int status = scene_ctl(u, NULL, &out, ret_err, "decrypt", "--range", range, file, option, NULL);

    if (status != expected)
        g_error("decrypt --range %s exits with %d: %s", range, status, *ret_err);
    return out;
}

static void test_range(void)
{
    Scene *s = scene_new();
    SceneUser *reader = scene_user_new(s, "bob"), *other = scene_user_new(s, "alice");
    g_autofree char *bob = key_of(s, reader, "bob.pem");
    g_autofree char *file = scene_path(s, "numbers.txt");
    g_autofree char *sealed = scene_path(s, "numbers.hmsg");
    g_autofree char *several = scene_path(s, "several.hmsg");
    g_autofree char *small = scene_path(s, "small.hmsg");
    g_autofree char *got = scene_path(s, "got");
    g_autofree char *ctl = g_build_filename(g_getenv("HMSG_BUILD"), "cli", "hmsgctl", NULL);
    g_autoptr(GString) numbers = g_string_new(NULL);
    char *err[7] = {NULL};
    g_autofree char *bytes = NULL;
    g_autofree char *kept = NULL;
    gsize size;

    for (unsigned i = 0; i < 200000; i++)
        g_string_append_printf(numbers, "%07u\n", i);
    g_assert_true(g_file_set_contents(file, numbers->str, (gssize)numbers->len, NULL));
    g_autofree char *alice = key_of(s, other, "alice.pem");
    scene_ctl_expect(reader, DONE, "encrypt", "-r", bob, "-o", sealed, file, NULL);
    scene_ctl_expect(reader, DONE, "encrypt", "-r", bob, "-r", alice, "--format=stream", "-o", several, file,
                     NULL);
    scene_ctl_expect(reader, DONE, "encrypt", "-r", bob, "-o", small, "/etc/hostname", NULL);

    g_autofree char *some = range_of(reader, DONE, sealed, "800000:16", NULL, &err[0]);
    g_assert_cmpstr(some, ==, "0100000\n0100001\n");
    g_assert_nonnull(strstr(err[0], "note: "));
    g_autofree char *last = range_of(reader, DONE, sealed, "1599992:", NULL, &err[1]);
    g_assert_cmpstr(last, ==, "0199999\n");
    g_assert_null(strstr(err[1], "note: "));
    g_free(range_of(reader, USAGE, sealed, "1600001:1", NULL, &err[2]));
    g_assert_nonnull(strstr(err[2], "behind the end"));
    /* whose signature is over the whole */
    g_free(range_of(reader, UNTRUSTED, several, "0:8", NULL, &err[5]));
    g_assert_nonnull(strstr(err[5], "over the whole"));
    g_autofree char *unsigned_one = range_of(reader, DONE, several, "0:8", "--allow-unknown", &err[6]);
    g_assert_cmpstr(unsigned_one, ==, "0000000\n");
    g_assert_nonnull(strstr(err[6], "warning: it is not known who made this"));
    g_autofree char *package = range_of(reader, DONE, small, "0:1", NULL, &err[3]);
    g_assert_cmpuint(strlen(package), ==, 1);
    scene_ctl_expect(reader, USAGE, "decrypt", "--range", "3", sealed, NULL);

    /* not through a pipe */
    const char *const argv[] = {"/bin/sh", "-c",   "cat \"$1\" | \"$0\" decrypt --range 0:1",
                                ctl,       sealed, NULL};
    g_assert_cmpint(test_run(argv, scene_environment(reader), NULL, NULL, &err[4]), ==, USAGE);
    g_assert_nonnull(strstr(err[4], "not from a pipe"));

    /* a bad chunk matters to the ranges that touch it, and a bad range leaves the file as it was */
    g_assert_true(g_file_get_contents(sealed, &bytes, &size, NULL));
    bytes[size - 800000] ^= 1;
    g_assert_true(g_file_set_contents(sealed, bytes, (gssize)size, NULL));
    g_assert_true(g_file_set_contents(got, TEXT, -1, NULL));
    scene_ctl_expect(reader, FORGED, "decrypt", "--range", "700000:200000", "-o", got, sealed, NULL);
    g_assert_true(g_file_get_contents(got, &kept, NULL, NULL));
    g_assert_cmpstr(kept, ==, TEXT);
    scene_ctl_expect(reader, DONE, "decrypt", "--range", "8:8", "-o", got, sealed, NULL);
    g_clear_pointer(&kept, g_free);
    g_assert_true(g_file_get_contents(got, &kept, NULL, NULL));
    g_assert_cmpstr(kept, ==, "0000001\n");
    for (size_t i = 0; i < G_N_ELEMENTS(err); i++)
        g_free(err[i]);
    scene_free(s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/range/file", test_range);
    return g_test_run();
}
