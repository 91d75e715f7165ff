/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/sandbox.h"
#include "agent/tpm-group.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "libhmsg/tpm/runner.h"
#include "tests/lib/child.h"
#include "tests/lib/process.h"
#include "tests/lib/user.h"

#define USER 64300u  /* no distribution gives these out */
#define GROUP 64301u /* of the device */
#define MANAGER "device:/dev/tpmrm0"

/* As execve makes it of a program that is set-gid. */
static void become_set_gid(void)
{
    g_assert_cmpint(setgroups(0, NULL), ==, 0);
    g_assert_cmpint(setresgid(USER, GROUP, GROUP), ==, 0);
    g_assert_cmpint(setresuid(USER, USER, USER), ==, 0);
}

static void assert_groups(gid_t saved)
{
    gid_t real, effective, now;

    g_assert_cmpint(getresgid(&real, &effective, &now), ==, 0);
    g_assert_cmpuint(real, ==, USER);
    g_assert_cmpuint(effective, ==, USER);
    g_assert_cmpuint(now, ==, saved);
}

static void set_aside(void *data)
{
    become_set_gid();
    g_assert_cmpint(tpm_group_set_aside(MANAGER), ==, 0);
    assert_groups(GROUP);
    g_assert_cmpint(tpm_group_drop(), ==, 0);
    assert_groups(USER);
    g_assert_cmpint(setegid(GROUP), <, 0);
}

static void drop(void *tcti)
{
    become_set_gid();
    g_assert_cmpint(tpm_group_set_aside(tcti), ==, 0);
    assert_groups(USER);
}

static void ordinary(void *data)
{
    test_user_take_on(USER, USER);
    g_assert_cmpint(tpm_group_set_aside(MANAGER), ==, 0);
    assert_groups(USER);
}

static void note(TpmAnswer *answer, void *userdata)
{
    TpmReason *reason = userdata;

    g_assert_cmpint(answer->r, ==, HMSG_ERROR_TPM_UNAVAILABLE);
    *reason = answer->problem->reason;
}

/* A device that only the group may open, and that is no TPM: which of both the runner says. */
static TpmReason probe(const char *path)
{
    g_autofree char *tcti = g_strdup_printf("device:%s", path);
    const TpmRunnerOptions options = {.tcti = tcti};
    _cleanup_(tpm_runner_freep) TpmRunner *r = NULL;
    TpmReason reason = TPM_REASON_NONE;

    g_assert_cmpint(tpm_runner_new(&options, &r), ==, 0);
    g_assert_cmpint(tpm_runner_probe(r, note, &reason, NULL), ==, 0);
    TEST_AWAIT(tpm_runner_dispatch(r) == 0 && reason != TPM_REASON_NONE);
    return reason;
}

/* The agent's sandbox with it: that must let the thread be of the group. */
static void open_in_thread(void *path)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *tcti = g_strdup_printf("device:%s", (char *)path);
    const Places places = {.config_file = path, .data_dir = folder, .tcti = tcti};

    become_set_gid();
    g_assert_cmpint(tpm_group_set_aside(MANAGER), ==, 0);
    g_assert_cmpint(agent_sandbox_enter(&places), ==, 0);
    g_assert_cmpint(open(path, O_RDWR | O_CLOEXEC), <, 0);
    g_assert_cmpint(probe(path), !=, TPM_REASON_NO_ACCESS);
    g_assert_cmpint(open(path, O_RDWR | O_CLOEXEC), <, 0);
}

static void open_without(void *path)
{
    become_set_gid();
    g_assert_cmpint(tpm_group_drop(), ==, 0);
    g_assert_cmpint(probe(path), ==, TPM_REASON_NO_ACCESS);
}

static bool skipped(void)
{
    if (geteuid() == 0)
        return false;
    g_test_skip("needs root, to be of other groups");
    return true;
}

static void test_set_aside(void)
{
    if (!skipped())
        test_in_child(set_aside, NULL);
}

static void test_other_ways(void)
{
    static const char *const ways[] = {"device:/dev/tpm0",
                                       "device:/dev/tpmrm",
                                       "device:/dev/tpmrm0x",
                                       "device:/dev/tpmrm0/..",
                                       "device:/dev/../tpmrm0",
                                       "cmd:sh",
                                       "swtpm:path=/tmp/tpm",
                                       "libevil.so",
                                       ""};

    if (skipped())
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++)
        test_in_child(drop, (void *)(uintptr_t)ways[i]);
}

static void test_ordinary(void)
{
    if (!skipped())
        test_in_child(ordinary, NULL);
}

static void test_thread(void)
{
    char *folder = test_folder_new();
    g_autofree char *path = g_build_filename(folder, "tpmrm0", NULL);

    if (!skipped()) {
        g_assert_true(g_file_set_contents(path, "", 0, NULL));
        g_assert_cmpint(chown(path, 0, GROUP), ==, 0);
        g_assert_cmpint(chmod(path, 0060), ==, 0);
        g_assert_cmpint(chmod(folder, 0711), ==, 0);
        test_in_child(open_in_thread, path);
        test_in_child(open_without, path);
    }
    test_folder_remove(folder);
}

int main(int argc, char **argv)
{
    (void)tpm_silence_logs();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/agent/tpm-group/set-aside", test_set_aside);
    g_test_add_func("/agent/tpm-group/other-ways", test_other_ways);
    g_test_add_func("/agent/tpm-group/ordinary", test_ordinary);
    g_test_add_func("/agent/tpm-group/thread", test_thread);
    return g_test_run();
}
