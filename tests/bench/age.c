/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/bench/age.h"

#include "tests/bench/measure.h"

struct Age {
    char *key, *recipient;
};

static bool is_installed(const char *program)
{
    g_autofree char *path = g_find_program_in_path(program);

    return path != NULL;
}

Age *age_new(const char *folder)
{
    Age *a;

    if (!is_installed("age") || !is_installed("age-keygen")) {
        g_print("age is not installed: there is nothing to compare with\n");
        return NULL;
    }
    a = g_new0(Age, 1);
    a->key = g_build_filename(folder, "age.key", NULL);
    const char *const generate[] = {"age-keygen", "-o", a->key, NULL};
    const char *const show[] = {"age-keygen", "-y", a->key, NULL};
    (void)bench_run(generate, NULL);
    if (test_run(show, NULL, NULL, &a->recipient, NULL) != 0)
        g_error("age-keygen -y fails");
    g_strstrip(a->recipient);
    return a;
}

void age_free(Age *a)
{
    if (!a)
        return;
    g_free(a->key);
    g_free(a->recipient);
    g_free(a);
}

double age_encrypt(const Age *a, const char *in, const char *out)
{
    const char *const argv[] = {"age", "-r", a->recipient, "-o", out, in, NULL};

    return bench_run(argv, NULL);
}

double age_decrypt(const Age *a, const char *in, const char *out)
{
    const char *const to_file[] = {"age", "-d", "-i", a->key, "-o", out, in, NULL};
    const char *const to_stdout[] = {"age", "-d", "-i", a->key, in, NULL};

    return bench_run(out ? to_file : to_stdout, NULL);
}
