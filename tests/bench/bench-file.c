/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A large file by hmsgctl (EncryptFd, DecryptFd) against age, turn by turn, from and to memory, so that no
 * disk is measured. HMSG_BENCH_MIB: the file's size; HMSG_BENCH_DIR: where it is. Of each the best of some
 * rounds is taken: what else goes on in the machine only adds. Root measures with real-time priority, both
 * programs alike. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/bench/age.h"
#include "tests/bench/measure.h"
#include "tests/lib/scene.h"
#include "tests/lib/swtpm.h"

#define SIZE_MIB 1024u
#define ROUNDS 7u
#define BAR_SPEED 2.0
#define BAR_MEMORY 32.0 /* MiB */
#define MIB (1024u * 1024u)
#define COPIES 4u /* of the file, at the most at one time */
#define MEMORY_FOLDER "/dev/shm"

typedef struct Files {
    char *folder, *plain, *theirs, *ours, *opened;
} Files;

static bool has_room(const char *folder, uint64_t bytes)
{
    struct statvfs st;

    return statvfs(folder, &st) == 0 && (uint64_t)st.f_bavail * st.f_frsize >= bytes;
}

static void files_make(Files *f, unsigned mib)
{
    uint64_t needed = (uint64_t)mib * MIB * COPIES;
    const char *parent = g_getenv("HMSG_BENCH_DIR");

    if (!parent)
        parent = has_room(MEMORY_FOLDER, needed) ? MEMORY_FOLDER : g_get_tmp_dir();
    if (!has_room(parent, needed))
        g_error("%s has no room for %u files of %u MiB (HMSG_BENCH_MIB)", parent, COPIES, mib);
    f->folder = g_build_filename(parent, "hmsg-bench.XXXXXX", NULL);
    if (!mkdtemp(f->folder))
        g_error("%s: %s", f->folder, g_strerror(errno));
    f->plain = g_build_filename(f->folder, "plain", NULL);
    f->theirs = g_build_filename(f->folder, "plain.age", NULL);
    f->ours = g_build_filename(f->folder, "plain.hmsg", NULL);
    f->opened = g_build_filename(f->folder, "opened", NULL);
}

static void files_done(Files *f)
{
    g_free(f->plain);
    g_free(f->theirs);
    g_free(f->ours);
    g_free(f->opened);
    test_folder_remove(f->folder);
}

static int file_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);

    if (fd < 0)
        g_error("%s: %s", path, g_strerror(errno));
    return fd;
}

static void fill(const char *path, unsigned mib)
{
    g_autofree uint32_t *block = g_malloc(MIB);
    g_autoptr(GRand) random = g_rand_new_with_seed(mib);
    int fd = file_open(path, O_WRONLY | O_CREAT | O_EXCL);

    for (size_t i = 0; i < MIB / sizeof(*block); i++)
        block[i] = g_rand_int(random);
    for (unsigned i = 0; i < mib; i++) {
        block[0] = i; /* no two alike */
        if (write(fd, block, MIB) != MIB)
            g_error("%s: %s", path, g_strerror(errno));
    }
    close(fd);
}

static void expect_equal(const char *a, const char *b)
{
    const char *const argv[] = {"cmp", a, b, NULL};

    (void)bench_run(argv, NULL);
}

enum { AGE_ENCRYPT, ENCRYPT, AGE_DECRYPT, DECRYPT, ENCRYPT_TWO, DECRYPT_TWO, MEASURES };

static const char *const names[] = {
    "age encrypt",     "hmsgctl encrypt",        "age decrypt",
    "hmsgctl decrypt", "hmsgctl encrypt to two", "hmsgctl decrypt of two",
};

/* hmsgctl, and back again. */
static void round_trip(const Files *f, const char *const encrypt[], const char *const decrypt[], SceneUser *u,
                       double *ret_encrypt, double *ret_decrypt)
{
    *ret_encrypt = bench_run(encrypt, scene_environment(u));
    *ret_decrypt = bench_run(decrypt, scene_environment(u));
    expect_equal(f->plain, f->opened);
    (void)unlink(f->opened);
    (void)unlink(f->ours);
}

static void measure(const Files *f, const Age *age, SceneUser *u, const char *ctl, unsigned mib)
{
    g_autofree char *key = g_strdup_printf("key:%s/identity", f->folder);
    g_autofree char *other = g_strdup_printf("key:%s/other", f->folder);
    const char *const encrypt[] = {ctl, "encrypt", "-r", key, "-o", f->ours, f->plain, NULL};
    const char *const to_two[] = {ctl, "encrypt", "-r", key, "-r", other, "-o", f->ours, f->plain, NULL};
    const char *const decrypt[] = {ctl, "decrypt", "-o", f->opened, f->ours, NULL};
    int pid = scene_agent_pid(u);
    double times[MEASURES][ROUNDS], best[MEASURES], median[MEASURES], growth;
    uint64_t before;

    before = bench_status_kib(pid, "VmRSS");
    if (!bench_reset_peak(pid))
        g_print("the agent's peak of memory cannot be reset: it is the one since its start\n");
    for (unsigned i = 0; i < ROUNDS; i++) {
        times[AGE_ENCRYPT][i] = age_encrypt(age, f->plain, f->theirs);
        times[AGE_DECRYPT][i] = age_decrypt(age, f->theirs, f->opened);
        (void)unlink(f->opened);
        (void)unlink(f->theirs);
        round_trip(f, encrypt, decrypt, u, &times[ENCRYPT][i], &times[DECRYPT][i]);
        round_trip(f, to_two, decrypt, u, &times[ENCRYPT_TWO][i], &times[DECRYPT_TWO][i]);
    }
    growth = (double)bench_status_kib(pid, "VmHWM") - (double)before;
    for (unsigned i = 0; i < MEASURES; i++) {
        best[i] = bench_best(times[i], ROUNDS);
        median[i] = bench_median(times[i], ROUNDS);
        g_print("%s of %u MiB: best %.0f ms (%.0f MiB/s), median %.0f ms\n", names[i], mib, best[i] / 1e3,
                mib * 1e6 / best[i], median[i] / 1e3);
    }
    g_print("by medians, encrypt: %.2f x as fast as age, decrypt: %.2f x\n",
            median[AGE_ENCRYPT] / median[ENCRYPT], median[AGE_DECRYPT] / median[DECRYPT]);
    g_print("for two, which is signed as a whole, encrypt: %.2f x as fast as age for one, decrypt: %.2f x\n",
            best[AGE_ENCRYPT] / best[ENCRYPT_TWO], best[AGE_DECRYPT] / best[DECRYPT_TWO]);
    bench_at_least("encrypt a file", best[AGE_ENCRYPT] / best[ENCRYPT], BAR_SPEED, "x as fast as age");
    bench_at_least("decrypt a file", best[AGE_DECRYPT] / best[DECRYPT], BAR_SPEED, "x as fast as age");
    bench_at_most("agent's memory growth meanwhile", growth / 1024, BAR_MEMORY, "MiB");
}

/* The public key of a new identity, in a file of the folder. */
static SceneUser *user_new(Scene *s, const Files *f, const char *name, const char *file)
{
    g_autofree char *path = g_build_filename(f->folder, file, NULL);
    SceneUser *u = scene_user_new(s, name);

    scene_ctl_expect(u, 0, "identity", "create", NULL);
    scene_ctl_expect(u, 0, "identity", "export", "--format=pem", "-o", path, NULL);
    return u;
}

int main(void)
{
    unsigned mib = bench_setting("HMSG_BENCH_MIB", SIZE_MIB);
    g_autofree char *ctl = g_build_filename(g_getenv("HMSG_BUILD"), "cli", "hmsgctl", NULL);
    Files files = {0};

    if (!test_swtpm_available()) {
        g_print("swtpm is not installed\n");
        return 77;
    }
    g_print(bench_go_ahead() ? "with real-time priority: other programs hardly count\n"
                             : "without the right to real-time priority: other programs count as well\n");
    files_make(&files, mib);
    g_autoptr(Age) age = age_new(files.folder);
    if (!age) {
        files_done(&files);
        return 77;
    }
    g_autoptr(Scene) scene = scene_new();
    SceneUser *user = user_new(scene, &files, "alice", "identity");

    (void)user_new(scene, &files, "bob", "other");
    fill(files.plain, mib);
    measure(&files, age, user, ctl, mib);
    files_done(&files);
    return 0;
}
