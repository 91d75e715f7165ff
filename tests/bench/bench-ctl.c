/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The whole process hmsgctl decrypt, of a package whose session is cached, against age -d of the same
 * plaintext, turn by turn. */

#include "tests/bench/age.h"
#include "tests/bench/measure.h"
#include "tests/lib/scene.h"
#include "tests/lib/swtpm.h"

#define ROUNDS 200u
#define PLAINTEXT_SIZE 256u
#define BAR 1.5

static void write_file(const char *path, const char *text)
{
    g_autoptr(GError) error = NULL;

    if (!g_file_set_contents(path, text, -1, &error))
        g_error("%s", error->message);
}

static char *output_of(SceneUser *u, const char *command, const char *option, const char *value,
                       const char *file)
{
    char *out = NULL;

    if (scene_ctl(u, NULL, &out, NULL, command, option, value, file, NULL) != 0)
        g_error("hmsgctl %s fails", command);
    return out;
}

static void measure(SceneUser *u, const Age *age, const char *theirs, const char *ours)
{
    g_autofree char *ctl = g_build_filename(g_getenv("HMSG_BUILD"), "cli", "hmsgctl", NULL);
    const char *const decrypt[] = {ctl, "decrypt", ours, NULL};
    const char *const nothing[] = {ctl, "--version", NULL};
    const char *const empty[] = {"true", NULL};
    double times[4][ROUNDS], medians[4];

    (void)bench_run(decrypt, scene_environment(u)); /* into the cache */
    for (unsigned i = 0; i < ROUNDS; i++) {
        times[0][i] = age_decrypt(age, theirs, NULL);
        times[1][i] = bench_run(decrypt, scene_environment(u));
        times[2][i] = bench_run(nothing, scene_environment(u));
        times[3][i] = bench_run(empty, NULL);
    }
    for (unsigned i = 0; i < 4; i++)
        medians[i] = bench_median(times[i], ROUNDS);
    g_print("age -d %.2f ms, hmsgctl decrypt %.2f ms, hmsgctl --version %.2f ms, true %.2f ms\n",
            medians[0] / 1e3, medians[1] / 1e3, medians[2] / 1e3, medians[3] / 1e3);
    bench_at_most("hmsgctl decrypt, cached, 256 B", medians[1] / medians[0], BAR, "x age -d");
}

int main(void)
{
    if (!test_swtpm_available()) {
        g_print("swtpm is not installed\n");
        return 77;
    }
    g_autoptr(Scene) scene = scene_new();
    g_autoptr(Age) age = age_new(scene_folder(scene));
    if (!age)
        return 77;
    SceneUser *user = scene_user_new(scene, "alice");
    g_autofree char *text = g_strnfill(PLAINTEXT_SIZE, 'x');
    g_autofree char *plain = scene_path(scene, "plain");
    g_autofree char *theirs = scene_path(scene, "plain.age");
    g_autofree char *ours = scene_path(scene, "plain.hmsg");
    g_autofree char *key = scene_path(scene, "identity");
    g_autofree char *recipient = g_strdup_printf("key:%s", key);

    scene_ctl_expect(user, 0, "identity", "create", NULL);
    g_autofree char *identity = output_of(user, "identity", "export", NULL, NULL);
    write_file(key, identity);
    write_file(plain, text);
    (void)age_encrypt(age, plain, theirs);
    g_autofree char *package = output_of(user, "encrypt", "-r", recipient, plain);
    write_file(ours, package);
    g_autofree char *opened = output_of(user, "decrypt", ours, NULL, NULL);
    g_assert_cmpstr(opened, ==, text);
    measure(user, age, theirs, ours);
    return 0;
}
