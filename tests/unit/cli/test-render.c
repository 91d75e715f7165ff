/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/render.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "cli/json-util.h"

static void expect_text(const char *from, size_t n, bool lines, const char *expected)
{
    Buf out = BUF_MAX(65536);

    g_assert_cmpint(render_text(&out, from, n, lines), ==, 0);
    g_assert_cmpstr(buf_text(&out), ==, expected);
    buf_done(&out);
}

#define EXPECT(from, lines, expected) expect_text(from, sizeof(from) - 1, lines, expected)

static void test_escape(void)
{
    EXPECT("plain text", false, "plain text");
    EXPECT("\033[31mred\033[0m", false, "\\x1b[31mred\\x1b[0m");
    EXPECT("a\nb\tc", false, "a\\x0ab\\x09c");
    EXPECT("a\nb\tc", true, "a\nb\tc");
    EXPECT("a\r\nb\rc", true, "a\nb\\x0dc");
    EXPECT("\0\177", true, "\\x00\\x7f");
    /* letters of other scripts stay */
    EXPECT("Gr\xc3\xbc\xc3\x9f Gott \xe2\x82\xac \xf0\x9f\x98\x80", false,
           "Gr\xc3\xbc\xc3\x9f Gott \xe2\x82\xac \xf0\x9f\x98\x80");
    /* C1 controls, directions, what is not seen, tags */
    EXPECT("\xc2\x9b"
           "1m",
           true, "\\u{009b}1m");
    EXPECT("\xe2\x80\xae"
           "cod.exe",
           true, "\\u{202e}cod.exe");
    EXPECT("\xe2\x81\xa6\xd8\x9c\xe2\x80\x8f", true, "\\u{2066}\\u{061c}\\u{200f}");
    EXPECT("a\xe2\x80\x8b"
           "b\xef\xbb\xbf",
           true, "a\\u{200b}b\\u{feff}");
    EXPECT("\xf3\xa0\x81\x81", true, "\\u{e0041}");
    EXPECT("\xe2\x80\xa8", true, "\\u{2028}");
}

static void test_not_utf8(void)
{
    EXPECT("\xff\xfe", true, "\\xff\\xfe");
    EXPECT("\xc3", true, "\\xc3"); /* cut off */
    EXPECT("\xc3"
           "a",
           true, "\\xc3a");                                   /* no continuation */
    EXPECT("\x80", true, "\\x80");                            /* nothing to continue */
    EXPECT("\xc0\x9b", true, "\\xc0\\x9b");                   /* ESC, too long */
    EXPECT("\xe0\x80\x9b", true, "\\xe0\\x80\\x9b");          /* the same */
    EXPECT("\xed\xa0\x80", true, "\\xed\\xa0\\x80");          /* a surrogate */
    EXPECT("\xf4\x90\x80\x80", true, "\\xf4\\x90\\x80\\x80"); /* beyond Unicode */
}

static void test_limit(void)
{
    Buf out = BUF_MAX(3);

    g_assert_cmpint(render_text(&out, "\033", 1, true), ==, -EMSGSIZE);
    buf_done(&out);
}

static void expect_value(const char *json, RenderKind kind, const char *expected)
{
    _cleanup_(json_unrefp) json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    Buf out = BUF_MAX(65536);

    g_assert_cmpint(render_value(&out, value, kind), ==, 0);
    g_assert_cmpstr(buf_text(&out), ==, expected);
    buf_done(&out);
}

static void test_values(void)
{
    g_setenv("TZ", "UTC", TRUE);
    expect_value("\"a\\u001bb\"", RENDER_TEXT, "a\\x1bb");
    expect_value("[\"a\", \"b\"]", RENDER_TEXT, "a, b");
    expect_value("true", RENDER_BOOL, "yes");
    expect_value("false", RENDER_BOOL, "no");
    expect_value("42", RENDER_NUMBER, "42");
    expect_value("0", RENDER_SIZE, "0 B");
    expect_value("1023", RENDER_SIZE, "1023 B");
    expect_value("1536", RENDER_SIZE, "1.5 KiB");
    expect_value("5242880", RENDER_SIZE, "5.0 MiB");
    expect_value("1700000000", RENDER_TIME, "2023-11-14 22:13:20");
    expect_value("0", RENDER_TIME, "-");
    expect_value("9223372036854775807", RENDER_TIME, "9223372036854775807");
}

static const RenderField fields[] = {
    {"name", "NAME", RENDER_TEXT}, {"n", "NUMBER", RENDER_NUMBER}, {"x", "X", RENDER_TEXT}};

static void test_table(void)
{
    _cleanup_(json_unrefp) json_t *rows =
        json_loads("[{\"name\":\"\\u00fcber\",\"n\":1},{\"name\":\"a\\nb\",\"n\":2,\"x\":\"y\"}]", 0, NULL);
    _cleanup_(json_unrefp) json_t *empty = json_array();
    Buf out = BUF_MAX(65536);

    g_assert_cmpint(render_table(&out, rows, fields, 3), ==, 0);
    g_assert_cmpstr(buf_text(&out), ==,
                    "NAME    NUMBER  X\n"
                    "\xc3\xbc"
                    "ber    1       -\n"
                    "a\\x0ab  2       y\n");
    buf_clear(&out);
    g_assert_cmpint(render_table(&out, empty, fields, 3), ==, 0);
    g_assert_cmpuint(out.size, ==, 0);
    buf_done(&out);
}

static void test_record(void)
{
    _cleanup_(json_unrefp) json_t *object = json_loads("{\"name\":\"bob\",\"n\":7}", 0, NULL);
    Buf out = BUF_MAX(65536);

    g_assert_cmpint(render_record(&out, object, fields, 3), ==, 0);
    g_assert_cmpstr(buf_text(&out), ==, "NAME:    bob\nNUMBER:  7\n");
    buf_done(&out);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/render/escape", test_escape);
    g_test_add_func("/cli/render/not-utf8", test_not_utf8);
    g_test_add_func("/cli/render/limit", test_limit);
    g_test_add_func("/cli/render/values", test_values);
    g_test_add_func("/cli/render/table", test_table);
    g_test_add_func("/cli/render/record", test_record);
    return g_test_run();
}
