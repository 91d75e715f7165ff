/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/journal.h"

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libhmsg/base/log.h"
#include "tests/lib/process.h"

typedef struct Fixture {
    char *folder, *path;
    int fd;
} Fixture;

static void listen_at(Fixture *f)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    g_strlcpy(name.sun_path, f->path, sizeof(name.sun_path));
    f->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    g_assert_cmpint(bind(f->fd, (const struct sockaddr *)&name, sizeof(name)), ==, 0);
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->path = g_build_filename(f->folder, "socket", NULL);
    listen_at(f);
    log_init("test", LOG_INFO);
    g_assert_cmpint(journal_open(f->path, "test-relay"), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    journal_close();
    close(f->fd);
    test_folder_remove(f->folder);
    g_free(f->path);
}

static char *received(const Fixture *f)
{
    char text[16384];
    ssize_t n = recv(f->fd, text, sizeof(text) - 1, 0);
    return n < 0 ? NULL : g_strndup(text, (gsize)n);
}

static void test_fields(Fixture *f, gconstpointer data)
{
    log_event(LOG_WARNING, LOG_FIELDS({"HMSG_EVENT", "refused"}, {"HMSG_NONE", NULL}, {"HMSG_STATUS", "507"}),
              "%s is full", "It");
    g_autofree char *text = received(f);
    g_assert_cmpstr(text, ==,
                    "MESSAGE=It is full\nPRIORITY=4\nSYSLOG_IDENTIFIER=test-relay\nHMSG_EVENT=refused\n"
                    "HMSG_STATUS=507\n");
    log_info("without");
    g_autofree char *plain = received(f);
    g_assert_cmpstr(plain, ==, "MESSAGE=without\nPRIORITY=6\nSYSLOG_IDENTIFIER=test-relay\n");
    log_debug("too much");
    g_assert_null(received(f));
}

/* What others sent makes no field, and no second event. */
static void test_hostile(Fixture *f, gconstpointer data)
{
    log_event(LOG_INFO, LOG_FIELDS({"HMSG_ROUTE", "GET\nPRIORITY=0\n\nMESSAGE=forged"}), "a\nPRIORITY=0\n");
    g_autofree char *text = received(f);
    g_assert_cmpstr(text, ==,
                    "MESSAGE=a?PRIORITY=0?\nPRIORITY=6\nSYSLOG_IDENTIFIER=test-relay\n"
                    "HMSG_ROUTE=GET?PRIORITY=0??MESSAGE=forged\n");
    g_autofree char *much = g_strnfill(100000, 'x');
    log_event(LOG_INFO, LOG_FIELDS({"HMSG_ROUTE", much}), "%s", much);
    g_autofree char *cut = received(f);
    g_assert_cmpuint(strlen(cut), <, 3 * LOG_LINE_MAX);
    g_assert_null(received(f));
}

static char *standard_error(void (*f)(void))
{
    int ends[2], saved = dup(STDERR_FILENO);
    char text[4096] = "";
    g_assert_cmpint(pipe(ends), ==, 0);
    g_assert_cmpint(dup2(ends[1], STDERR_FILENO), ==, STDERR_FILENO);
    f();
    g_assert_cmpint(dup2(saved, STDERR_FILENO), ==, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    g_assert_cmpint(read(ends[0], text, sizeof(text) - 1), >=, 0);
    close(ends[0]);
    return g_strdup(text);
}

static void complain(void)
{
    log_event(LOG_ERR, LOG_FIELDS({"HMSG_EVENT", "serving"}), "still here");
}

/* A journal that has ended loses nothing. */
static void test_gone(Fixture *f, gconstpointer data)
{
    close(f->fd);
    g_assert_cmpint(g_unlink(f->path), ==, 0);
    g_autofree char *text = standard_error(complain);
    g_assert_true(g_str_has_suffix(text, ": still here\n"));
    g_assert_cmpint(journal_open(f->path, "test-relay"), ==, -ENOENT);
    g_assert_cmpint(journal_open(f->folder, "test-relay"), ==, -ECONNREFUSED);
    listen_at(f);
    g_assert_cmpint(journal_open(f->path, "test-relay"), ==, 0);
    g_autofree char *none = standard_error(complain), *there = received(f);
    g_assert_cmpstr(none, ==, "");
    g_assert_nonnull(strstr(there, "MESSAGE=still here\n"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, t) g_test_add("/journal/" name, Fixture, NULL, set_up, t, tear_down)
    ADD("fields", test_fields);
    ADD("hostile", test_hostile);
    ADD("gone", test_gone);
    return g_test_run();
}
