/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/app.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/process.h"

#define PID 7

/* What stands for /proc, with one process. */
typedef struct Fixture {
    char *proc;
} Fixture;

static void put(Fixture *f, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(f->proc, "7", name, NULL);
    g_autofree char *folder = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    g_assert_true(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0644, NULL));
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->proc = test_folder_new();
    put(f, "comm", "mail\n");
    put(f, "root/etc/hosts", "");
    put(f, "mountinfo", "22 27 0:21 / /proc rw - proc proc rw\n");
}

static void tear_down(Fixture *f, gconstpointer data)
{
    test_folder_remove(f->proc);
}

static void expect(Fixture *f, const char *id)
{
    char text[APP_ID_SIZE];
    App app;

    app_look(f->proc, PID, &app);
    g_assert_true(app_is_valid(&app));
    app_id(&app, text);
    g_assert_cmpstr(text, ==, id);
}

static void test_host(Fixture *f, gconstpointer data)
{
    App app;

    expect(f, "host");
    put(f, "attr/current", "unconfined\n");
    expect(f, "host");
    app_look(f->proc, PID, &app);
    g_assert_cmpstr(app.program, ==, "mail");
    g_assert_false(app_is_sandboxed(&app));
    app_look(f->proc, PID + 1, &app);
    g_assert_cmpint(app.kind, ==, APP_UNKNOWN);
    g_assert_true(app_is_sandboxed(&app));
    app_look(f->proc, 0, &app);
    g_assert_cmpint(app.kind, ==, APP_UNKNOWN);
}

static void test_flatpak(Fixture *f, gconstpointer data)
{
    put(f, "root/.flatpak-info",
        "[Application]\nruntime=x\nname=org.example.Mail\n\n[Session Bus Policy]\norg.hmsg.Agent1=talk\n");
    expect(f, "flatpak:org.example.Mail");
    put(f, "root/.flatpak-info", "[Other]\nname=org.example.Mail\n");
    expect(f, "unknown");
    put(f, "root/.flatpak-info", "[Application]\nname=a b\n");
    expect(f, "unknown");
    put(f, "root/.flatpak-info", "[Application]\nname=\n");
    expect(f, "unknown");
    put(f, "root/.flatpak-info", "");
    expect(f, "unknown");
}

static void test_snap(Fixture *f, gconstpointer data)
{
    put(f, "attr/current", "snap.mail-reader.app (enforce)\n");
    expect(f, "snap:mail-reader");
    put(f, "attr/current", "snap.\n");
    expect(f, "unknown");
    put(f, "attr/current", "snap.a b.c (enforce)\n");
    expect(f, "unknown");
}

/* What the process calls itself is shown to people. */
static void test_program(Fixture *f, gconstpointer data)
{
    App app;

    put(f, "comm", "\033[2J a name that is much too long\n");
    app_look(f->proc, PID, &app);
    g_assert_cmpstr(app.program, ==, "?[2J a name tha");
}

/* It lets nobody look: then its mounts tell. In a process without the rights of root. */
static void hidden_subprocess(void)
{
    Fixture f = {0};
    g_autofree char *root = NULL;

    set_up(&f, NULL);
    root = g_build_filename(f.proc, "7", "root", NULL);
    put(&f, "root/.flatpak-info", "[Application]\nname=org.example.Mail\n");
    g_assert_cmpint(g_chmod(f.proc, 0755), ==, 0);
    g_assert_cmpint(g_chmod(root, 0000), ==, 0);
    if (getuid() == 0) {
        g_assert_cmpint(chown(root, 1, 1), ==, 0);
        g_assert_cmpint(setresuid(65534, 65534, 0), ==, 0);
    }
    expect(&f, "host");
    g_assert_cmpint(seteuid(getuid() == 65534 ? 0 : getuid()), ==, 0);
    put(&f, "mountinfo",
        "22 27 0:21 / /proc rw - proc proc rw\n23 27 0:1 /x /.flatpak-info ro - tmpfs t rw\n");
    g_assert_cmpint(seteuid(getuid()), ==, 0);
    expect(&f, "unknown");
    g_assert_cmpint(seteuid(getuid() == 65534 ? 0 : getuid()), ==, 0);
    g_assert_cmpint(g_chmod(root, 0700), ==, 0);
    tear_down(&f, NULL);
}

static void test_hidden(void)
{
    g_test_trap_subprocess("/agent/app/hidden/subprocess", 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
    g_test_trap_assert_passed();
}

static void test_context(void)
{
    static const struct {
        AppKind kind;
        const char *context, *id;
    } cases[] = {
        {APP_HOST, "user_u:user_r:user_t:s0", "selinux:user_t"},
        {APP_HOST, "user_u:user_r:user_t", "selinux:user_t"},
        {APP_HOST, "unconfined", "host"},
        {APP_HOST, "a:b:", "host"},
        {APP_HOST, "a:b:c d:s0", "host"},
        {APP_HOST, NULL, "host"},
        {APP_UNKNOWN, "user_u:user_r:user_t:s0", "unknown"},
        {APP_NOT_ASKED, NULL, "unknown"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        App app = {.kind = cases[i].kind};
        char text[APP_ID_SIZE];

        app_set_context(&app, cases[i].context);
        app_id(&app, text);
        g_assert_cmpstr(text, ==, cases[i].id);
    }
}

static void test_ids(void)
{
    static const char *const good[] = {"host", "unknown", "snap:a", "flatpak:org.example.Mail",
                                       "selinux:user_t"};
    static const char *const bad[] = {"",        "Host",  "host:",    "host:a",      "snap",
                                      "flatpak", "snap:", "snap:a b", "flatpak:a:b", "flatpak:\xc3\xa4",
                                      "other:a", "hosts", "snap:a\n", ":a"};
    g_autofree char *large = g_strdup_printf("flatpak:%0*d", (int)APP_NAME_SIZE, 0);

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
        g_assert_true(app_id_is_valid(good[i]));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(app_id_is_valid(bad[i]));
    g_assert_false(app_id_is_valid(large));
}

static void test_invalid(void)
{
    App app = {.kind = APP_FLATPAK};

    g_assert_false(app_is_valid(&app));
    memset(app.name, 'a', sizeof(app.name));
    g_assert_false(app_is_valid(&app));
    app.name[3] = '\0';
    g_assert_true(app_is_valid(&app));
    memset(app.program, 'a', sizeof(app.program));
    g_assert_false(app_is_valid(&app));
    app = (App){.kind = APP_HOST, .name = "a"};
    g_assert_false(app_is_valid(&app));
    app = (App){.kind = APP_NOT_ASKED};
    g_assert_false(app_is_valid(&app));
    app = (App){.kind = (AppKind)77};
    g_assert_false(app_is_valid(&app));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*test)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/agent/app/host", test_host},
        {"/agent/app/flatpak", test_flatpak},
        {"/agent/app/snap", test_snap},
        {"/agent/app/program", test_program},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Fixture, NULL, set_up, tests[i].test, tear_down);
    g_test_add_func("/agent/app/hidden", test_hidden);
    g_test_add_func("/agent/app/hidden/subprocess", hidden_subprocess);
    g_test_add_func("/agent/app/context", test_context);
    g_test_add_func("/agent/app/ids", test_ids);
    g_test_add_func("/agent/app/invalid", test_invalid);
    return g_test_run();
}
