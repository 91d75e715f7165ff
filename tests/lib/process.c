/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/process.h"

#define FOLDER_TEMPLATE "/tmp/hmsg-test.XXXXXX"
#define FTW_DESCRIPTORS 16

struct TestProcess {
    GPid pid;
    char *name;
    bool ended;
    int status;
};

char *test_folder_new(void)
{
    char *path = g_strdup(FOLDER_TEMPLATE);

    if (!mkdtemp(path))
        g_error("%s: %s", path, g_strerror(errno));
    return path;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

void test_folder_remove(char *path)
{
    if (!path)
        return;
    if (nftw(path, remove_one, FTW_DESCRIPTORS, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
        g_error("%s: %s", path, g_strerror(errno));
    g_free(path);
}

void test_folder_copy(const char *from, const char *to)
{
    const char *const copy[] = {"cp", "-a", from, to, NULL};
    test_folder_remove(g_strdup(to));
    g_assert_cmpint(test_run(copy, NULL, NULL, NULL, NULL), ==, 0);
}

static void in_child(gpointer parent)
{
    /* shells leave these out for what they start in the background, and their children with it */
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGQUIT, SIG_DFL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != GPOINTER_TO_INT(parent))
        _exit(127);
}

static char **merged_environment(const char *const environment[])
{
    char **merged = g_get_environ();

    for (size_t i = 0; environment && environment[i]; i++) {
        g_auto(GStrv) pair = g_strsplit(environment[i], "=", 2);

        merged =
            pair[1] ? g_environ_setenv(merged, pair[0], pair[1], TRUE) : g_environ_unsetenv(merged, pair[0]);
    }
    return merged;
}

static GPid spawn(const char *const argv[], const char *const environment[], int in, int out, int err)
{
    g_auto(GStrv) merged = merged_environment(environment);
    g_auto(GStrv) copy = g_strdupv((char **)(uintptr_t)argv);
    g_autoptr(GError) error = NULL;
    GPid pid;

    if (!g_spawn_async_with_fds(NULL, copy, merged, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, in_child,
                                GINT_TO_POINTER(getpid()), &pid, in, out, err, &error))
        g_error("%s: %s", argv[0], error->message);
    return pid;
}

TestProcess *test_process_start(const char *const argv[], const char *const environment[], const char *log)
{
    TestProcess *p = g_new0(TestProcess, 1);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out = log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)
                  : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

    if (null < 0 || out < 0)
        g_error("%s: %s", log ? log : "/dev/null", g_strerror(errno));
    p->name = g_path_get_basename(argv[0]);
    p->pid = spawn(argv, environment, null, out, out);
    close(null);
    close(out);
    return p;
}

bool test_process_runs(TestProcess *p)
{
    if (!p->ended && waitpid(p->pid, &p->status, WNOHANG) == p->pid)
        p->ended = true;
    return !p->ended;
}

int test_process_wait(TestProcess *p)
{
    TEST_AWAIT(!test_process_runs(p));
    int status = p->status;

    g_free(p->name);
    g_free(p);
    return status;
}

void test_process_signal(TestProcess *p, int signal)
{
    if (test_process_runs(p) && kill(p->pid, signal) < 0)
        g_error("%s: %s", p->name, g_strerror(errno));
}

int test_process_stop(TestProcess *p)
{
    if (!p)
        return 0;
    test_process_signal(p, SIGTERM);
    return test_process_wait(p);
}

int test_process_pid(const TestProcess *p)
{
    return p->pid;
}

/* A file in memory with the given content, read from its start. */
static int memory_file(const char *content)
{
    int fd = memfd_create("hmsg-test", MFD_CLOEXEC);
    size_t size = content ? strlen(content) : 0;

    if (fd < 0 || (size > 0 && write(fd, content, size) != (ssize_t)size) || lseek(fd, 0, SEEK_SET) < 0)
        g_error("memfd: %s", g_strerror(errno));
    return fd;
}

static char *memory_file_content(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    char *content = g_malloc0((size_t)size + 1);

    if (size < 0 || pread(fd, content, (size_t)size, 0) != size)
        g_error("memfd: %s", g_strerror(errno));
    return content;
}

int test_run(const char *const argv[], const char *const environment[], const char *input, char **ret_out,
             char **ret_err)
{
    int in = memory_file(input), out = memory_file(NULL), err = memory_file(NULL);
    GPid pid = spawn(argv, environment, in, out, err);
    int status;

    if (waitpid(pid, &status, 0) != pid)
        g_error("waitpid: %s", g_strerror(errno));
    if (ret_out)
        *ret_out = memory_file_content(out);
    if (ret_err)
        *ret_err = memory_file_content(err);
    close(in);
    close(out);
    close(err);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
