/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/swtpm.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/process.h"

/* Commands of swtpm's control channel, swtpm_ioctls(3). */
#define CMD_GET_CAPABILITY 1u
#define CMD_INIT 2u
#define ANSWER_MAX 64u

struct TestSwtpm {
    TestProcess *process;
    char *folder, *path, *ctrl, *tcti, *log;
    bool frozen;
};

bool test_swtpm_available(void)
{
    g_autofree char *found = g_find_program_in_path("swtpm");
    return found != NULL;
}

/* Sends a command without parameters or with one of 0; false when nobody listens. */
static bool control(const TestSwtpm *t, uint32_t command, size_t zeros, guint8 ret[static ANSWER_MAX])
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    guint8 message[8] = {0, 0, 0, (guint8)command};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ssize_t n = 4 + (ssize_t)zeros;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpuint(g_strlcpy(name.sun_path, t->ctrl, sizeof(name.sun_path)), <, sizeof(name.sun_path));
    bool answered = connect(fd, (const struct sockaddr *)&name, sizeof(name)) == 0 &&
                    send(fd, message, (size_t)n, MSG_NOSIGNAL) == n && recv(fd, ret, ANSWER_MAX, 0) >= 4;
    close(fd);
    return answered;
}

void test_swtpm_start(TestSwtpm *t)
{
    g_autofree char *state = g_strdup_printf("dir=%s", t->folder);
    g_autofree char *server = g_strdup_printf("type=unixio,path=%s", t->path);
    g_autofree char *ctrl = g_strdup_printf("type=unixio,path=%s", t->ctrl);
    const char *const argv[] = {"swtpm",
                                "socket",
                                "--tpm2",
                                "--tpmstate",
                                state,
                                "--server",
                                server,
                                "--ctrl",
                                ctrl,
                                "--flags",
                                "not-need-init,startup-clear",
                                NULL};
    guint8 answer[ANSWER_MAX];

    g_assert_null(t->process);
    (void)unlink(t->path);
    (void)unlink(t->ctrl);
    t->process = test_process_start(argv, NULL, t->log);
    TEST_AWAIT(!test_process_runs(t->process) ||
               (g_file_test(t->path, G_FILE_TEST_EXISTS) && control(t, CMD_GET_CAPABILITY, 0, answer)));
    if (!test_process_runs(t->process))
        g_error("swtpm does not start, see %s", t->log);
}

TestSwtpm *test_swtpm_new(const char *folder)
{
    TestSwtpm *t = g_new0(TestSwtpm, 1);

    t->folder = folder ? g_build_filename(folder, "tpm", NULL) : test_folder_new();
    if (g_mkdir_with_parents(t->folder, 0700) < 0)
        g_error("%s: %s", t->folder, g_strerror(errno));
    t->path = g_build_filename(t->folder, "tpm", NULL);
    t->ctrl = g_strdup_printf("%s.ctrl", t->path);
    t->tcti = g_strdup_printf("swtpm:path=%s", t->path);
    t->log = g_build_filename(t->folder, "log", NULL);
    test_swtpm_start(t);
    return t;
}

void test_swtpm_stop(TestSwtpm *t)
{
    test_swtpm_thaw(t);
    (void)test_process_stop(g_steal_pointer(&t->process));
}

void test_swtpm_free(TestSwtpm *t)
{
    if (!t)
        return;
    test_swtpm_stop(t);
    test_folder_remove(t->folder);
    g_free(t->path);
    g_free(t->ctrl);
    g_free(t->tcti);
    g_free(t->log);
    g_free(t);
}

const char *test_swtpm_tcti(const TestSwtpm *t)
{
    return t->tcti;
}

const char *test_swtpm_path(const TestSwtpm *t)
{
    return t->path;
}

int test_swtpm_pid(const TestSwtpm *t)
{
    return test_process_pid(t->process);
}

void test_swtpm_reset(TestSwtpm *t)
{
    static const guint8 done[4];
    guint8 answer[ANSWER_MAX];

    if (!control(t, CMD_INIT, 4, answer) || memcmp(answer, done, sizeof(done)) != 0)
        g_error("swtpm cannot be reset, see %s", t->log);
}

void test_swtpm_freeze(TestSwtpm *t)
{
    if (!t->process)
        return;
    test_process_signal(t->process, SIGSTOP);
    t->frozen = true;
}

void test_swtpm_thaw(TestSwtpm *t)
{
    if (t->frozen)
        test_process_signal(t->process, SIGCONT);
    t->frozen = false;
}
