/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hmsgctl and a PIN: typed on a terminal that does not show it, or out of a descriptor. */
#include "cli/pin.h"

#include <glib.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "tests/unit/client/fake.h"

typedef struct Fixture {
    Fake fake;
    int terminal;
    pid_t pid;
    GString *shown;
    bool screen;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    fake_set_up(&f->fake, TRUE);
    f->shown = g_string_new(NULL);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_string_free(f->shown, TRUE);
    fake_tear_down(&f->fake);
}

static void start(Fixture *f, const char *words)
{
    g_autofree char *all = g_strdup_printf("%s %s", g_getenv("HMSGCTL"), words);
    g_auto(GStrv) argv = g_strsplit(all, " ", -1);

    g_string_truncate(f->shown, 0);
    f->pid = forkpty(&f->terminal, NULL, NULL, NULL);
    g_assert_cmpint(f->pid, >=, 0);
    if (f->pid == 0) {
        unsetenv("DISPLAY");
        unsetenv("WAYLAND_DISPLAY");
        for (char **e = f->fake.environment; *e; e++)
            putenv(*e);
        if (f->screen)
            setenv("DISPLAY", ":0", 1);
        execv(argv[0], argv);
        _exit(127);
    }
}

/* Reads on; false at the end. */
static bool look(Fixture *f)
{
    char text[256];
    ssize_t n = read(f->terminal, text, sizeof(text));

    if (n <= 0)
        return false;
    g_string_append_len(f->shown, text, n);
    return true;
}

/* Types it once the question is there. */
static void type(Fixture *f, const char *question, const char *answer)
{
    while (!strstr(f->shown->str, question))
        if (!look(f))
            g_error("no \"%s\" in: %s", question, f->shown->str);
    g_assert_cmpint(write(f->terminal, answer, strlen(answer)), ==, strlen(answer));
}

static int end(Fixture *f)
{
    struct termios t;
    int status;

    while (look(f))
        ;
    g_assert_cmpint(tcgetattr(f->terminal, &t), ==, 0);
    g_assert_true((t.c_lflag & ECHO) != 0); /* as it was */
    g_assert_cmpint(waitpid(f->pid, &status, 0), ==, f->pid);
    close(f->terminal);
    return status;
}

static void expect_last(Fixture *f, const char *expected)
{
    g_autofree char *last = fake_last_call(&f->fake);

    g_assert_cmpstr(last, ==, expected);
}

static void test_typed(Fixture *f, gconstpointer data)
{
    start(f, "unlock");
    type(f, "PIN: ", "2580\n");
    g_assert_cmpint(end(f), ==, 0);
    g_assert_null(strstr(f->shown->str, "2580"));
    expect_last(f, "Identity.Unlock {pin=memfd:2580}");
    start(f, "unlock --force");
    type(f, "PIN: ", "a sentence of words\n");
    g_assert_cmpint(end(f), ==, 0);
    expect_last(f, "Identity.Unlock {pin=memfd:a sentence of words,force=true}");
}

/* The agent asks by pinentry; the fake cannot be told a PIN that way, and is content. */
static void test_screen(Fixture *f, gconstpointer data)
{
    f->screen = true;
    start(f, "unlock");
    g_assert_cmpint(end(f), ==, 0);
    expect_last(f, "Identity.Unlock {}");
}

static void test_new(Fixture *f, gconstpointer data)
{
    start(f, "identity create --pin");
    type(f, "New PIN: ", "2580\n");
    type(f, "The same PIN again: ", "2580\n");
    g_assert_cmpint(end(f), ==, 0);
    g_assert_null(strstr(f->shown->str, "2580"));
    expect_last(f, "Identity.Create {pin=memfd:2580}");
}

static void test_change(Fixture *f, gconstpointer data)
{
    start(f, "identity pin --keep-key");
    type(f, "PIN: ", "2580\n");
    type(f, "New PIN: ", "0852\n");
    type(f, "The same PIN again: ", "0852\n");
    g_assert_cmpint(end(f), ==, 0);
    g_assert_null(strstr(f->shown->str, "0852"));
    expect_last(f, "Identity.SetPin {pin=memfd:2580,new_pin=memfd:0852,keep_key=true}");
    g_assert_nonnull(strstr(f->shown->str, "still opens with the old PIN"));
    start(f, "identity pin --remove");
    type(f, "PIN: ", "2580\n");
    g_assert_cmpint(end(f), ==, 0);
    g_assert_null(strstr(f->shown->str, "still opens with the old PIN"));
    expect_last(f, "Identity.SetPin {pin=memfd:2580}");
    start(f, "identity pin --keep-key --grace 1d");
    g_assert_cmpint(WEXITSTATUS(end(f)), ==, 2);
}

static void test_refused(Fixture *f, gconstpointer data)
{
    start(f, "identity create --pin");
    type(f, "New PIN: ", "2580\n");
    type(f, "The same PIN again: ", "2581\n");
    g_assert_cmpint(WEXITSTATUS(end(f)), ==, 2);
    g_assert_nonnull(strstr(f->shown->str, "The two PINs differ"));
    start(f, "unlock");
    type(f, "PIN: ", "123\n");
    g_assert_cmpint(WEXITSTATUS(end(f)), ==, 2);
    g_assert_nonnull(strstr(f->shown->str, "A PIN has 4 to 256 bytes"));
    expect_last(f, "Identity.Show {}");
}

/* The terminal is put right first. */
static void test_interrupted(Fixture *f, gconstpointer data)
{
    start(f, "unlock");
    type(f, "PIN: ", "258\003");
    int status = end(f);
    g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    expect_last(f, "Identity.Show {}");
}

static int run(Fixture *f, const char *input, const char *words, char **ret_err)
{
    g_autofree char *all = g_strdup_printf("%s %s", g_getenv("HMSGCTL"), words);
    const char *const argv[] = {"setsid", "-w", "sh", "-c", all, NULL}; /* without a terminal */

    return test_run(argv, (const char *const *)f->fake.environment, input, NULL, ret_err);
}

static void test_descriptor(Fixture *f, gconstpointer data)
{
    g_autofree char *large = g_strnfill(257, '1');

    g_assert_cmpint(run(f, "2580\nand more", "unlock --pin-fd 0", NULL), ==, 0);
    expect_last(f, "Identity.Unlock {pin=memfd:2580}");
    g_assert_cmpint(run(f, "2580", "identity create --pin-fd 3 3<&0", NULL), ==, 0);
    expect_last(f, "Identity.Create {pin=memfd:2580}");
    g_assert_cmpint(run(f, "", "unlock --pin-fd 0", NULL), ==, 2);
    g_assert_cmpint(run(f, large, "unlock --pin-fd 0", NULL), ==, 2);
    g_assert_cmpint(run(f, "2580", "unlock --pin-fd 9", NULL), ==, 2);
    g_assert_cmpint(run(f, "2580", "unlock --pin-fd x", NULL), ==, 2);
    g_assert_cmpint(run(f, "2580", "unlock --pin-fd -1", NULL), ==, 2);
}

static void test_nobody(Fixture *f, gconstpointer data)
{
    g_autofree char *err = NULL;

    g_assert_cmpint(run(f, "2580\n", "unlock", &err), ==, 2);
    g_assert_nonnull(strstr(err, "--pin-fd"));
    start(f, "unlock --no-ask");
    g_assert_cmpint(WEXITSTATUS(end(f)), ==, 2);
    expect_last(f, "Identity.Show (no-ask) {}");
}

#define ADD(name, function) g_test_add("/cli/pin/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    ADD("typed", test_typed);
    ADD("screen", test_screen);
    ADD("new", test_new);
    ADD("change", test_change);
    ADD("refused", test_refused);
    ADD("interrupted", test_interrupted);
    ADD("descriptor", test_descriptor);
    ADD("nobody", test_nobody);
    return g_test_run();
}
