/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/prompt.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/pin.h"
#include "agent/pinentry.h"
#include "libhmsg/base/error.h"
#include "tests/lib/process.h"

#define TEXT "The PIN of your hmsg keys, please."

/* What pinentry does, but that %s stands for the user. */
#define SCRIPT                                                                                               \
    "#!/bin/sh\n"                                                                                            \
    "echo $$ >\"$0.pid\"\n"                                                                                  \
    "echo OK ready\n"                                                                                        \
    "while read -r line; do\n"                                                                               \
    "    echo \"$line\" >>\"$0.log\"\n"                                                                      \
    "    case $line in\n"                                                                                    \
    "    GETPIN) %s ;;\n"                                                                                    \
    "    *) echo OK ;;\n"                                                                                    \
    "    esac\n"                                                                                             \
    "done\n"

typedef struct Fixture {
    char *folder, *program;
    sd_event *event;
    Launcher *launcher;
    Prompt *prompt;
    bool done;
    int r;
    char *pin;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->program = g_build_filename(f->folder, "pinentry", NULL);
    g_assert_cmpint(sd_event_new(&f->event), >=, 0);
    g_assert_cmpint(launcher_new("/nonexistent", f->program, &f->launcher), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    prompt_free(f->prompt);
    launcher_free(f->launcher);
    sd_event_unref(f->event);
    g_free(f->pin);
    g_free(f->program);
    test_folder_remove(f->folder);
}

static void on_done(int r, const Secret *pin, void *userdata)
{
    Fixture *f = userdata;

    f->prompt = prompt_free(f->prompt);
    f->done = true;
    f->r = r;
    g_assert_cmpint(r == 0, ==, pin != NULL);
    g_free(f->pin);
    f->pin = pin ? g_strndup((const char *)secret_bytes(pin), secret_size(pin)) : NULL;
}

static void begin(Fixture *f, const char *user)
{
    g_autofree char *script = g_strdup_printf(SCRIPT, user);

    g_assert_true(g_file_set_contents(f->program, script, -1, NULL));
    g_assert_cmpint(g_chmod(f->program, 0700), ==, 0);
    f->done = false;
    g_assert_cmpint(prompt_pin(f->event, f->launcher, TEXT, on_done, f, &f->prompt), ==, 0);
}

static int ask(Fixture *f, const char *user)
{
    begin(f, user);
    while (!f->done)
        g_assert_cmpint(sd_event_run(f->event, UINT64_MAX), >=, 0);
    return f->r;
}

static void test_pin(Fixture *f, gconstpointer data)
{
    g_autofree char *log = g_strconcat(f->program, ".log", NULL);
    g_autofree char *text = NULL;

    g_assert_cmpint(ask(f, "echo D 2580; echo OK"), ==, 0);
    g_assert_cmpstr(f->pin, ==, "2580");
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    g_assert_nonnull(strstr(text, "SETDESC " TEXT "\n"));
    g_assert_cmpint(ask(f, "echo D a%25b; echo D cd; echo OK"), ==, 0); /* as Assuan escapes */
    g_assert_cmpstr(f->pin, ==, "a%bcd");
}

static void test_refused(Fixture *f, gconstpointer data)
{
    g_autofree char *large = g_strnfill(PIN_SIZE_MAX + 1, '1');
    g_autofree char *user = g_strdup_printf("echo D %s; echo OK", large);

    g_assert_cmpint(ask(f, "echo ERR 83886179 cancelled"), ==, HMSG_ERROR_CANCELLED);
    g_assert_cmpint(ask(f, "echo ERR 83886340 no screen"), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(ask(f, "exit 1"), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(ask(f, "echo nonsense"), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(ask(f, "echo D 123; echo OK"), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(ask(f, "echo OK"), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(ask(f, user), ==, HMSG_ERROR_INVALID_ARGS);
}

static void test_missing(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(prompt_pin(f->event, f->launcher, TEXT, on_done, f, &f->prompt), ==, 0);
    while (!f->done)
        g_assert_cmpint(sd_event_run(f->event, UINT64_MAX), >=, 0);
    g_assert_cmpint(f->r, ==, HMSG_ERROR_LOCKED);
}

static pid_t pid_of(const char *path)
{
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) && strchr(text, '\n')
               ? (pid_t)g_ascii_strtoll(text, NULL, 10)
               : 0;
}

/* Nobody waits any more: the question leaves the screen. */
static void test_cancel(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_strconcat(f->program, ".pid", NULL);
    g_autofree char *log = g_strconcat(f->program, ".log", NULL);
    g_autofree char *text = NULL;

    begin(f, data);
    TEST_AWAIT(pid_of(path) > 0);
    pid_t pid = pid_of(path);
    TEST_AWAIT((g_free(g_steal_pointer(&text)), g_file_get_contents(log, &text, NULL, NULL)) &&
               strstr(text, "GETPIN\n"));
    f->prompt = prompt_free(f->prompt);
    TEST_AWAIT(kill(pid, 0) < 0 && errno == ESRCH);
    g_assert_false(f->done);
}

static void test_long_text(Fixture *f, gconstpointer data)
{
    g_autofree char *text = g_strnfill(PINENTRY_TEXT_MAX + 1, 'x');

    g_assert_cmpint(prompt_pin(f->event, f->launcher, text, on_done, f, &f->prompt), ==, -EINVAL);
    g_assert_null(f->prompt);
    text[PINENTRY_TEXT_MAX] = 0;
    g_assert_cmpint(prompt_pin(f->event, f->launcher, text, on_done, f, &f->prompt), ==, 0);
    while (!f->done)
        g_assert_cmpint(sd_event_run(f->event, UINT64_MAX), >=, 0);
}

/* Given up before anybody could be asked: nobody is. */
static void test_cancel_at_once(Fixture *f, gconstpointer data)
{
    int pair[2], status = 0;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    close(pair[0]);
    pid_t pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        pinentry_ask("/bin/cat", TEXT, pair[1]); /* says nothing, and does not end */
        _exit(1);
    }
    close(pair[1]);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
}

/* Nobody who could ask. */
static void test_no_launcher(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(prompt_pin(f->event, NULL, TEXT, on_done, f, &f->prompt), ==, HMSG_ERROR_LOCKED);
    g_assert_null(f->prompt);
}

#define ADD_DATA(path, data, test) g_test_add("/agent/prompt/" path, Fixture, data, set_up, test, tear_down)
#define ADD(path, test) ADD_DATA(path, NULL, test)

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    ADD("pin", test_pin);
    ADD("refused", test_refused);
    ADD("missing", test_missing);
    ADD_DATA("cancel", "read -r more", test_cancel);
    ADD_DATA("cancel-shown", "exec sleep 1000", test_cancel); /* does not read */
    ADD("cancel-at-once", test_cancel_at_once);
    ADD("no-launcher", test_no_launcher);
    ADD("long-text", test_long_text);
    return g_test_run();
}
