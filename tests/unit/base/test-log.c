/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libhmsg/base/log.h"

#define TEXT_MAX 4096

/* What log_at writes to standard error, with the journal there or not. */
static char *logged(bool journal, int level, const char *text)
{
    int ends[2];
    g_assert_cmpint(pipe(ends), ==, 0);
    int saved = dup(STDERR_FILENO);
    g_assert_cmpint(saved, >=, 0);
    g_assert_cmpint(dup2(ends[1], STDERR_FILENO), ==, STDERR_FILENO);
    /* it is there in both cases, and names this standard error or another one */
    struct stat st;
    g_assert_cmpint(fstat(STDERR_FILENO, &st), ==, 0);
    g_autofree char *stream = g_strdup_printf("%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT, (guint64)st.st_dev,
                                              (guint64)st.st_ino + !journal);
    g_setenv("JOURNAL_STREAM", stream, TRUE);
    log_init("test", LOG_INFO);
    g_assert_true(log_is_journal() == journal);
    log_at(level, "%s", text);
    g_assert_cmpint(dup2(saved, STDERR_FILENO), ==, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    char *got = g_malloc0(TEXT_MAX);
    ssize_t n = read(ends[0], got, TEXT_MAX - 1);
    g_assert_cmpint(n, >=, 0);
    close(ends[0]);
    return got;
}

static void test_terminal(void)
{
    g_autofree char *got = logged(false, LOG_INFO, "hello");
    g_assert_true(g_str_has_prefix(got, "test["));
    g_assert_true(g_str_has_suffix(got, "]: hello\n"));
}

static void test_journal(void)
{
    g_autofree char *got = logged(true, LOG_WARNING, "hello");
    g_assert_cmpstr(got, ==, "<4>hello\n");
}

static void test_level(void)
{
    g_autofree char *got = logged(false, LOG_DEBUG, "hello");
    g_assert_cmpstr(got, ==, "");
}

static void test_controls(void)
{
    g_autofree char *got = logged(true, LOG_INFO, "a\n<0>forged\033[2J\177b");
    g_assert_cmpstr(got, ==, "<6>a?<0>forged?[2J?b\n");
}

static void test_long(void)
{
    g_autofree char *text = g_strnfill(TEXT_MAX / 2, 'x');
    g_autofree char *got = logged(true, LOG_INFO, text);
    g_assert_cmpuint(strlen(got), <, 1100);
    g_assert_true(g_str_has_suffix(got, "xx\n"));
    g_assert_cmpstr(strchr(got, '\n'), ==, "\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/log/terminal", test_terminal);
    g_test_add_func("/base/log/journal", test_journal);
    g_test_add_func("/base/log/level", test_level);
    g_test_add_func("/base/log/controls", test_controls);
    g_test_add_func("/base/log/long", test_long);
    return g_test_run();
}
