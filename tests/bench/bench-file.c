/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A large file by hmsgctl (EncryptFd, DecryptFd) against age, turn by turn, from and to memory, so that no
 * disk is measured. HMSG_BENCH_MIB: the file's size; HMSG_BENCH_DIR: where it is. Of each the best of some
 * rounds is taken: what else goes on in the machine only adds. */

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

static void measure(const Files *f, const Age *age, SceneUser *u, const char *ctl, unsigned mib)
{
    g_autofree char *key = g_strdup_printf("key:%s/identity", f->folder);
    const char *const encrypt[] = {ctl, "encrypt", "-r", key, "-o", f->ours, f->plain, NULL};
    const char *const decrypt[] = {ctl, "decrypt", "-o", f->opened, f->ours, NULL};
    const char *const *environment = scene_environment(u);
    int pid = scene_agent_pid(u);
    double times[4][ROUNDS], best[4], growth;
    uint64_t before;

    before = bench_status_kib(pid, "VmRSS");
    if (!bench_reset_peak(pid))
        g_print("the agent's peak of memory cannot be reset: it is the one since its start\n");
    for (unsigned i = 0; i < ROUNDS; i++) {
        times[0][i] = age_encrypt(age, f->plain, f->theirs);
        times[1][i] = bench_run(encrypt, environment);
        times[2][i] = age_decrypt(age, f->theirs, f->opened);
        expect_equal(f->plain, f->opened);
        (void)unlink(f->opened);
        times[3][i] = bench_run(decrypt, environment);
        expect_equal(f->plain, f->opened);
        (void)unlink(f->opened);
        (void)unlink(f->ours);
        (void)unlink(f->theirs);
    }
    growth = (double)bench_status_kib(pid, "VmHWM") - (double)before;
    for (unsigned i = 0; i < 4; i++) {
        best[i] = bench_best(times[i], ROUNDS);
        g_print("%s %s of %u MiB: best %.0f ms (%.0f MiB/s), median %.0f ms\n", i % 2 ? "hmsgctl" : "age",
                i < 2 ? "encrypt" : "decrypt", mib, best[i] / 1e3, mib * 1e6 / best[i],
                bench_median(times[i], ROUNDS) / 1e3);
    }
    bench_at_least("encrypt a file", best[0] / best[1], BAR_SPEED, "x as fast as age");
    bench_at_least("decrypt a file", best[2] / best[3], BAR_SPEED, "x as fast as age");
    bench_at_most("agent's memory growth meanwhile", growth / 1024, BAR_MEMORY, "MiB");
}

int main(void)
{
    unsigned mib = bench_setting("HMSG_BENCH_MIB", SIZE_MIB);
    g_autofree char *ctl = g_build_filename(g_getenv("HMSG_BUILD"), "cli", "hmsgctl", NULL);
    g_autofree char *identity = NULL;
    g_autofree char *path = NULL;
    Files files = {0};

    if (!test_swtpm_available()) {
        g_print("swtpm is not installed\n");
        return 77;
    }
    files_make(&files, mib);
    g_autoptr(Age) age = age_new(files.folder);
    if (!age) {
        files_done(&files);
        return 77;
    }
    g_autoptr(Scene) scene = scene_new();
    SceneUser *user = scene_user_new(scene, "alice");

    scene_ctl_expect(user, 0, "identity", "create", NULL);
    if (scene_ctl(user, NULL, &identity, NULL, "identity", "export", NULL) != 0)
        g_error("the identity cannot be exported");
    path = g_build_filename(files.folder, "identity", NULL);
    if (!g_file_set_contents(path, identity, -1, NULL))
        g_error("%s cannot be written", path);
    fill(files.plain, mib);
    measure(&files, age, user, ctl, mib);
    files_done(&files);
    return 0;
}
