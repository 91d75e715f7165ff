/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/recipients.h"

#include <glib.h>

#include "tests/lib/process.h"

typedef struct Fixture {
    char *folder, *path, *word;
    Ctl ctl;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->path = g_build_filename(f->folder, "bob.pem", NULL);
    f->word = g_strconcat("key:", f->path, NULL);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    ctl_done(&f->ctl);
    g_free(f->word);
    g_free(f->path);
    test_folder_remove(f->folder);
}

static void test_read(Fixture *f, gconstpointer data)
{
    Recipients r;

    g_assert_true(g_file_set_contents(f->path, "KEY", -1, NULL));
    f->ctl.options.recipients[0] = "bob@relay.test";
    f->ctl.options.recipients[1] = f->word;
    f->ctl.options.recipients[2] = "keystone";
    f->ctl.options.n_recipients = 3;
    g_assert_cmpint(recipients_read(&f->ctl, &r), ==, 0);
    g_assert_cmpuint(r.n_names, ==, 2);
    g_assert_cmpstr(r.names[1], ==, "keystone");
    g_assert_cmpuint(r.n_keys, ==, 1);
    g_assert_cmpstr(buf_text(&r.keys[0]), ==, "KEY");
    recipients_done(&r);
}

static void test_refused(Fixture *f, gconstpointer data)
{
    g_autofree char *large = g_malloc0(KEY_FILE_MAX + 1);
    Recipients r;

    g_assert_cmpint(recipients_read(&f->ctl, &r), ==, HMSG_ERROR_INVALID_ARGS);
    f->ctl.options.recipients[0] = f->word;
    f->ctl.options.n_recipients = 1;
    g_assert_cmpint(recipients_read(&f->ctl, &r), ==, HMSG_ERROR_NOT_FOUND);
    recipients_done(&r);
    g_assert_true(g_file_set_contents(f->path, large, KEY_FILE_MAX + 1, NULL));
    g_assert_cmpint(recipients_read(&f->ctl, &r), ==, HMSG_ERROR_TOO_LARGE);
    recipients_done(&r);
    f->ctl.options.recipients[0] = "key:/";
    g_assert_cmpint(recipients_read(&f->ctl, &r), <, 0);
    recipients_done(&r);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/cli/recipients/read", Fixture, NULL, set_up, test_read, tear_down);
    g_test_add("/cli/recipients/refused", Fixture, NULL, set_up, test_refused, tear_down);
    return g_test_run();
}
