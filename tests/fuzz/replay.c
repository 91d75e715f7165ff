/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* replay FOLDER: runs a fuzz target over each file of its corpus, whole, cut to every length of the first
 * bytes and of some later ones, and with bits flipped. */

#include <glib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define CUTS 64u  /* beginnings of an input that are tried too */
#define FLIPS 64u /* bits of an input that are flipped, one at a time */

/* In memory of exactly this size, so that AddressSanitizer sees a read behind it. */
static void run(const char *data, size_t n)
{
    g_autofree uint8_t *exact = g_malloc(MAX(n, 1));

    memcpy(exact, data, n);
    (void)LLVMFuzzerTestOneInput(exact, n);
}

static void test_file(gconstpointer path)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *data = NULL;
    gsize n = 0;

    if (!g_file_get_contents(path, &data, &n, &error))
        g_error("%s", error->message);
    run(data, n);
    for (gsize i = 0; i < CUTS && i < n; i++)
        run(data, i < CUTS / 2 ? i : i * n / CUTS);
    for (gsize i = 0; i < FLIPS && i < n; i++) {
        gsize at = i * n / FLIPS;

        data[at] ^= (char)(1 << (i % 8));
        run(data, n);
        data[at] ^= (char)(1 << (i % 8));
    }
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    unsigned count = 0;
    const char *name;

    g_test_init(&argc, &argv, NULL);
    if (argc != 2)
        g_error("usage: replay FOLDER");
    g_autoptr(GDir) folder = g_dir_open(argv[1], 0, &error);
    if (!folder)
        g_error("%s", error->message);
    while ((name = g_dir_read_name(folder))) {
        g_autofree char *test = g_strdup_printf("/corpus/%s", name);

        g_test_add_data_func_full(test, g_build_filename(argv[1], name, NULL), test_file, g_free);
        count++;
    }
    g_assert_cmpuint(count, >, 0);
    return g_test_run();
}
