/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>

#include "libhmsg/base/buf.h"

static void test_limit(void)
{
    Buf b = BUF_MAX(5);
    g_assert_cmpstr(buf_text(&b), ==, "");
    g_assert_cmpint(buf_append_string(&b, "hell"), ==, 0);
    g_assert_cmpint(buf_append_string(&b, "oo"), ==, -EMSGSIZE);
    g_assert_cmpstr(buf_text(&b), ==, "hell");
    g_assert_cmpint(buf_append_string(&b, "o"), ==, 0);
    g_assert_cmpint(buf_reserve(&b, SIZE_MAX), ==, -EMSGSIZE);
    g_assert_cmpstr(buf_text(&b), ==, "hello");
    buf_clear(&b);
    g_assert_cmpuint(b.size, ==, 0);
    buf_done(&b);
    buf_done(&b);
}

static void test_numbers(void)
{
    Buf b = BUF_MAX(12);
    g_assert_cmpint(buf_append_u32(&b, 0x01020304), ==, 0);
    g_assert_cmpint(buf_append_u64(&b, 0x05060708090a0b0c), ==, 0);
    g_assert_cmpmem(b.data, b.size, "\1\2\3\4\5\6\7\x8\x9\xa\xb\xc", 12);
    buf_done(&b);
}

static void test_printf(void)
{
    Buf b = BUF_MAX(8);
    g_assert_cmpint(buf_printf(&b, "%d-%s", 12, "abc"), ==, 0);
    g_assert_cmpint(buf_printf(&b, "%s", "abc"), ==, -EMSGSIZE);
    /* what did not fit leaves nothing, what grows is whole, with room and without */
    Buf c = BUF_MAX(1000);
    g_assert_cmpint(
        buf_printf(&c, "%.*s", 63, "0123456789012345678901234567890123456789012345678901234567890123"), ==,
        0);
    g_assert_cmpuint(c.allocated, ==, 64);
    g_assert_cmpint(buf_printf(&c, "%s", ""), ==, 0);
    g_assert_cmpint(buf_printf(&c, "%s", "abc"), ==, 0);
    g_assert_cmpuint(c.size, ==, 66);
    g_assert_cmpstr(buf_text(&c) + 60, ==, "012abc");
    c.max = 70;
    g_assert_cmpint(buf_printf(&c, "%100s", "abc"), ==, -EMSGSIZE);
    g_assert_cmpuint(strlen(buf_text(&c)), ==, 66);
    buf_done(&c);
    g_assert_cmpstr(buf_text(&b), ==, "12-abc");
    buf_done(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/buf/limit", test_limit);
    g_test_add_func("/base/buf/numbers", test_numbers);
    g_test_add_func("/base/buf/printf", test_printf);
    return g_test_run();
}
