/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A package is a JWE by other names: another implementation opens it, and refuses it once changed. */

#include <openssl/pem.h>
#include <string.h>
#include <sys/wait.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/wire/jwe.h"
#include "tests/lib/person.h"
#include "tests/lib/process.h"

#define TEXT "Dear Bob, here are the plans."
#define SKIPPED 77
#define REFUSED 5

/* The exit status of the program; its output in *ret_text, to be freed. */
static int open_elsewhere(EVP_PKEY *key, const Buf *package, char **ret_text)
{
    char *folder = test_folder_new();
    g_autofree char *key_path = g_build_filename(folder, "key.pem", NULL);
    g_autofree char *package_path = g_build_filename(folder, "package.json", NULL);
    g_autofree char *program = g_test_build_filename(G_TEST_DIST, "open-jwe.py", NULL);
    char python[] = "/usr/bin/python3", bare[] = "-B",
         *argv[] = {python, bare, program, key_path, package_path, NULL};
    g_autoptr(GError) error = NULL;
    FILE *file = fopen(key_path, "we");
    int status = 0;

    g_assert_nonnull(file);
    g_assert_cmpint(PEM_write_PKCS8PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), ==, 1);
    g_assert_cmpint(fclose(file), ==, 0);
    g_file_set_contents(package_path, (const char *)package->data, (gssize)package->size, &error);
    g_assert_no_error(error);
    g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, ret_text, NULL, &status, &error);
    g_assert_no_error(error);
    test_folder_remove(folder);
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Another implementation opens it, and refuses it once its MAC is changed. */
static void opens_elsewhere(EVP_PKEY *key, Buf *package, const char *mac_member)
{
    g_autofree char *text = NULL, *nothing = NULL;
    int r = open_elsewhere(key, package, &text);

    if (r == SKIPPED) {
        g_test_skip("python3-jwcrypto is missing");
        return;
    }
    g_assert_cmpint(r, ==, 0);
    g_assert_cmpstr(text, ==, TEXT);
    char *mac = strstr((char *)package->data, mac_member);
    g_assert_nonnull(mac);
    mac += strlen(mac_member);
    *mac = *mac == 'A' ? 'B' : 'A';
    g_assert_cmpint(open_elsewhere(key, package, &nothing), ==, REFUSED);
    g_assert_cmpstr(nothing, ==, "");
}

/* Keys take long to make: both tests have the same. */
typedef struct Case {
    const TestPerson *sender; /* NULL: anonymous */
    const TestPerson *bob;
} Case;

static void test_rename(gconstpointer data)
{
    const Case *c = data;
    int64_t now = clock_realtime();
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(c->sender, c->bob, now);
    _cleanup_(buf_done) Buf package = BUF_MAX(PACKAGE_SIZE_MAX);
    _cleanup_(buf_done) Buf jwe = BUF_MAX(JWE_SIZE_MAX);

    g_assert_cmpint(package_build(s, 0, now, 0, TEXT, strlen(TEXT), &package), ==, 0);
    g_assert_cmpint(jwe_from_package(buf_text(&package), package.size, &jwe), ==, 0);
    opens_elsewhere(c->bob->decrypt_private, &package, "\"mac\":\"");
    opens_elsewhere(c->bob->decrypt_private, &jwe, "\"tag\":\"");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autoptr(TestPerson) alice = test_person_new(), bob = test_person_new();
    const Case anonymous = {NULL, bob}, with_sender = {alice, bob};
    g_test_add_data_func("/rename/anonymous", &anonymous, test_rename);
    g_test_add_data_func("/rename/signed", &with_sender, test_rename);
    return g_test_run();
}
