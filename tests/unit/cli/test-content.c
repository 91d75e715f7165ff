/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/content.h"

#include <errno.h>
#include <glib.h>

#include "tests/lib/process.h"

typedef struct Fixture {
    char *folder, *path, *inside;
    Ctl ctl;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->path = g_build_filename(f->folder, "out", NULL);
    f->inside = g_strconcat(f->folder, "/", NULL);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    ctl_done(&f->ctl);
    g_free(f->inside);
    g_free(f->path);
    test_folder_remove(f->folder);
}

static void set_output(Fixture *f, const char *path)
{
    f->ctl.options.values[OPTION_OUTPUT] = path;
}

static void test_write(Fixture *f, gconstpointer data)
{
    static const char raw[] = "raw\033[2J\r\n";
    g_autofree char *text = NULL;
    Output *out = NULL;

    set_output(f, f->path);
    g_assert_cmpint(content_open_output(&f->ctl, MODE_PLAINTEXT, &out), ==, 0);
    g_assert_cmpint(content_refuse_terminal(&f->ctl, out, "It"), ==, 0);
    g_assert_cmpint(content_write(&f->ctl, out, raw, sizeof(raw) - 1), ==, 0);
    g_assert_cmpint(content_commit(&f->ctl, out, NULL), ==, 0);
    output_free(out);
    g_assert_true(g_file_get_contents(f->path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, raw);
}

static void test_exists(Fixture *f, gconstpointer data)
{
    Output *out = NULL;

    g_assert_true(g_file_set_contents(f->path, "old", -1, NULL));
    set_output(f, f->inside);
    g_assert_cmpint(content_open_output(&f->ctl, MODE_PLAINTEXT, &out), ==, 0);
    g_assert_cmpint(content_commit(&f->ctl, out, "x/out"), ==, -EEXIST);
    g_assert_nonnull(f->ctl.hint);
    output_free(out);
}

static void test_refused(Fixture *f, gconstpointer data)
{
    Output *out = NULL;
    Input *in = NULL;

    set_output(f, f->folder);
    g_assert_cmpint(content_open_output(&f->ctl, MODE_PLAINTEXT, &out), ==, HMSG_ERROR_INVALID_ARGS);
    f->ctl.options.operands[0] = f->path;
    f->ctl.options.n_operands = 1;
    g_assert_cmpint(content_open_input(&f->ctl, 0, CONTENT_MAX, &in), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_null(out);
    g_assert_null(in);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/cli/content/write", Fixture, NULL, set_up, test_write, tear_down);
    g_test_add("/cli/content/exists", Fixture, NULL, set_up, test_exists, tear_down);
    g_test_add("/cli/content/refused", Fixture, NULL, set_up, test_refused, tear_down);
    return g_test_run();
}
