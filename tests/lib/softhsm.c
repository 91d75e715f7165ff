/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/softhsm.h"

#include <glib.h>
#include <glib/gstdio.h>

#include "tests/lib/process.h"

const char *test_softhsm_module(void)
{
    static const char *const places[] = {"/usr/lib/softhsm/libsofthsm2.so",
                                         "/usr/lib64/softhsm/libsofthsm2.so",
                                         "/usr/lib64/pkcs11/libsofthsm2.so"};

    for (size_t i = 0; i < G_N_ELEMENTS(places); i++)
        if (g_file_test(places[i], G_FILE_TEST_EXISTS))
            return places[i];
    return NULL;
}

bool test_softhsm_available(void)
{
    g_autofree char *program = g_find_program_in_path("softhsm2-util");

    return program && test_softhsm_module();
}

void test_softhsm_set_up(const char *folder, const char *const *names)
{
    g_autofree char *config = g_build_filename(folder, "softhsm2.conf", NULL);
    g_autofree char *tokens = g_build_filename(folder, "tokens", NULL);
    g_autofree char *text = g_strdup_printf("directories.tokendir = %s\nlog.level = ERROR\n", tokens);

    g_assert_cmpint(g_mkdir(tokens, 0700), ==, 0);
    g_assert_true(g_file_set_contents(config, text, -1, NULL));
    g_assert_true(g_setenv("SOFTHSM2_CONF", config, TRUE));
    for (size_t i = 0; names[i]; i++) {
        const char *const argv[] = {"softhsm2-util", "--init-token",   "--free",   "--label",  names[i],
                                    "--pin",         TEST_SOFTHSM_PIN, "--so-pin", "87654321", NULL};

        g_assert_cmpint(test_run(argv, NULL, NULL, NULL, NULL), ==, 0);
    }
}

char *test_softhsm_uri(const char *attributes)
{
    return g_strdup_printf("pkcs11:%s?module-path=%s", attributes, test_softhsm_module());
}
