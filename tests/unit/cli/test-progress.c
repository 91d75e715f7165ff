/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/progress.h"

#include <glib.h>

#include "libhmsg/base/clock.h"

static void expect(uint64_t done, uint64_t total, const char *expected)
{
    Buf out = BUF_MAX(256);

    g_assert_cmpint(progress_text(&out, done, total), ==, 0);
    g_assert_cmpstr(buf_text(&out), ==, expected);
    buf_done(&out);
}

static void test_text(void)
{
    expect(0, 0, "0 B");
    expect(1536, 0, "1.5 KiB");
    expect(0, 1024, "  0 %  0 B of 1.0 KiB");
    expect(512, 1024, " 50 %  512 B of 1.0 KiB");
    expect(2048, 1024, "100 %  2.0 KiB of 1.0 KiB");
    expect(UINT64_MAX, UINT64_MAX, "100 %  8192.0 PiB of 8192.0 PiB");
}

/* Without a terminal nothing is drawn. */
static void test_no_terminal(void)
{
    Progress p = {0};

    progress_show(1, 2, &p);
    g_assert_cmpuint(p.drawn, ==, 0);
    progress_end(&p);
}

/* Begun long ago on a terminal: drawn, and removed at the end. */
static void test_drawn(void)
{
    Progress p = {.began = 1};

    progress_show(1, 2, &p);
    g_assert_cmpuint(p.drawn, >, 1);
    g_assert_cmpuint(p.drawn, <=, clock_boottime());
    progress_end(&p);
    g_assert_cmpuint(p.drawn, ==, 0);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/progress/text", test_text);
    g_test_add_func("/cli/progress/no-terminal", test_no_terminal);
    g_test_add_func("/cli/progress/drawn", test_drawn);
    return g_test_run();
}
