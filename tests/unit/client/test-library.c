/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libhmsg.so gives desktop programs every function of the public headers, and nothing else. */
#include <dlfcn.h>
#include <glib.h>

#include "libhmsg/client/call.h"
#include "libhmsg/client/client.h"
#include "libhmsg/client/error.h"

static void *open_library(void)
{
    void *library = dlopen(g_getenv("HMSG_LIBRARY"), RTLD_NOW | RTLD_LOCAL);

    if (!library)
        g_error("%s", dlerror());
    return library;
}

static void test_public(void)
{
    static const char *const headers[] = {"call.h", "client.h", "error.h"};
    g_autoptr(GRegex) name = g_regex_new("\\b(hmsg_[a-z_]+)\\(", 0, 0, NULL);
    void *library = open_library();
    unsigned n = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(headers); i++) {
        g_autofree char *path =
            g_build_filename(g_getenv("HMSG_SOURCE"), "libhmsg", "client", headers[i], NULL);
        g_autoptr(GMatchInfo) match = NULL;
        g_autofree char *text = NULL;

        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        for (g_regex_match(name, text, 0, &match); g_match_info_matches(match);
             g_match_info_next(match, NULL), n++) {
            g_autofree char *symbol = g_match_info_fetch(match, 1);

            if (!dlsym(library, symbol))
                g_error("libhmsg.map lacks %s", symbol);
        }
    }
    g_assert_cmpuint(n, >=, 20);
    dlclose(library);
}

static void test_private(void)
{
    void *library = open_library();

    g_assert_null(dlsym(library, "client_fail"));
    g_assert_null(dlsym(library, "error_message"));
    g_assert_null(dlsym(library, "buf_append"));
    dlclose(library);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/client/library/public", test_public);
    g_test_add_func("/client/library/private", test_private);
    return g_test_run();
}
