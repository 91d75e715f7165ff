/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/json.h"

#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/limits.h"

static int parse(const char *text)
{
    json_t *j = NULL;
    int r = json_parse_object(text, strlen(text), &j);

    json_decref(j);
    return r;
}

static void test_strict(void)
{
    static const char *const good[] = {"{}", " {\"a\":1} \n", "{\"a\":{\"b\":[1,{\"c\":null}]}}",
                                       "{\"\\u0041\":\"\\u00e9\"}"};
    static const char *const bad[] = {
        "",
        "[]",
        "1",
        "null",
        "{",
        "{}{}",
        "{} x",
        "{\"a\":1,\"a\":2}",
        "{\"a\":{\"b\":1,\"b\":1}}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":\"\xff\"}",
        "{\"a\":NaN}",
        "// x\n{}",
        "\xef\xbb\xbf{}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":99999999999999999999999}",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
        g_assert_cmpint(parse(good[i]), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        if (parse(bad[i]) != HMSG_ERROR_BAD_PACKAGE)
            g_error("accepted: %s", bad[i]);
    json_t *j = NULL;
    g_assert_cmpint(json_parse_object("{}\0", 3, &j), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(json_parse_array("[1]", 3, &j), ==, 0);
    json_decref(j);
    j = NULL;
    g_assert_cmpint(json_parse_array("{}", 2, &j), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_null(j);
}

static void test_depth(void)
{
    for (unsigned depth = 1; depth < 4 * JSON_DEPTH_MAX; depth++) {
        g_autoptr(GString) text = g_string_new("{\"a\":");

        for (unsigned i = 1; i < depth; i++)
            g_string_append_c(text, '[');
        g_string_append_c(text, '1');
        for (unsigned i = 1; i < depth; i++)
            g_string_append_c(text, ']');
        g_string_append_c(text, '}');
        g_assert_cmpint(parse(text->str), ==, depth <= JSON_DEPTH_MAX ? 0 : HMSG_ERROR_BAD_PACKAGE);
    }
    /* far beyond: no stack is exhausted */
    g_autofree char *deep = g_strnfill(1000000, '[');
    json_t *j = NULL;
    g_assert_cmpint(json_parse_array(deep, 1000000, &j), ==, HMSG_ERROR_BAD_PACKAGE);
}

/* Much of nothing: two bytes in the text are hundreds in memory. */
static void test_values(void)
{
    static const char *const values[] = {"{}", "[]", "0", "\"\"", "\",[{\\\",\""};

    for (size_t i = 0; i < G_N_ELEMENTS(values); i++)
        for (unsigned n = 1000; n <= JSON_VALUES_MAX + 1000; n += JSON_VALUES_MAX) {
            g_autoptr(GString) text = g_string_new("{\"a\":[");
            for (unsigned k = 0; k < n; k++)
                g_string_append_printf(text, "%s%s", k > 0 ? "," : "", values[i]);
            g_string_append(text, "]}");
            g_assert_cmpint(parse(text->str), ==, n == 1000 ? 0 : HMSG_ERROR_BAD_PACKAGE);
        }
    /* without an end to it, at once: jansson would have taken gigabytes before it came to the end */
    size_t size = PACKAGE_LIST_SIZE_MAX / 4;
    g_autofree char *much = g_malloc(size);
    for (size_t i = 0; i < size; i++)
        much[i] = "{},"[i % 3];
    much[0] = '[';
    json_t *j = NULL;
    g_assert_cmpint(json_parse_array(much, size, &j), ==, HMSG_ERROR_BAD_PACKAGE);
}

static void test_get(void)
{
    static const char text[] =
        "{\"n\":5,\"s\":\"abc\",\"b\":\"AQI\",\"o\":{},\"a\":[],\"f\":1.5,\"t\":\"AQJ\"}";
    static const char *const names[] = {"n", "s", "b", "o", "a", "f", "t", NULL};
    json_t *j = NULL, *inner = NULL;
    _cleanup_(buf_done) Buf buf = BUF_MAX(2), small = BUF_MAX(1);
    const char *s = NULL;
    uint8_t bytes[2] = {0};
    int64_t n = -1;

    g_assert_cmpint(json_parse_object(text, strlen(text), &j), ==, 0);
    g_assert_cmpint(json_check_names(j, names), ==, 0);
    g_assert_cmpint(json_check_names(j, names + 1), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(json_get_number(j, "n", 5, 5, &n), ==, 0);
    g_assert_cmpint(n, ==, 5);
    g_assert_cmpint(json_get_number(j, "n", 6, 9, &n), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(json_get_number(j, "f", 0, 9, &n), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(json_get_number(j, "x", 0, 9, &n), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(json_get_text(j, "s", 3, &s, NULL), ==, 0);
    g_assert_cmpint(json_get_text(j, "s", 2, &s, NULL), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(json_get_text(j, "n", 2, &s, NULL), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(json_expect_text(j, "s", "abc"), ==, 0);
    g_assert_cmpint(json_expect_text(j, "s", "ab"), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(json_get_bytes(j, "b", bytes, 2), ==, 0);
    g_assert_cmpint(bytes[1], ==, 2);
    g_assert_cmpint(json_get_bytes(j, "b", bytes, 1), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(json_get_bytes(j, "t", bytes, 2), ==, HMSG_ERROR_BAD_PACKAGE); /* trailing bits */
    g_assert_cmpint(json_get_buf(j, "b", &buf), ==, 0);
    g_assert_cmpint(json_get_buf(j, "b", &small), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(json_get_object(j, "o", &inner), ==, 0);
    g_assert_cmpint(json_get_object(j, "a", &inner), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(json_get_array(j, "a", &inner), ==, 0);
    g_assert_cmpint(json_get_array(j, "o", &inner), ==, HMSG_ERROR_BAD_PACKAGE);
    json_decref(j);
}

static void test_write(void)
{
    json_t *j = json_object();
    _cleanup_(buf_done) Buf text = BUF_MAX(100), small = BUF_MAX(5);

    g_assert_cmpint(json_put_text(j, "z", "\"\n"), ==, 0);
    g_assert_cmpint(json_put_number(j, "a", -1), ==, 0);
    g_assert_cmpint(json_put_bytes(j, "b", "\xff\xfe", 2), ==, 0);
    g_assert_cmpint(json_put(j, "n", NULL), ==, -ENOMEM);
    g_assert_cmpint(json_write(j, &text), ==, 0);
    g_assert_cmpstr(buf_text(&text), ==, "{\"z\":\"\\\"\\n\",\"a\":-1,\"b\":\"__4\"}");
    g_assert_cmpint(json_write(j, &small), ==, -EMSGSIZE);
    g_assert_cmpuint(small.size, ==, 0);
    json_decref(j);
}

/* In a process of its own. */
static void test_memory(void)
{
    json_malloc_t allocate = NULL;

    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_failed();
        g_test_trap_assert_stdout("*parsed*");
        g_test_trap_assert_stdout_unmatched("*went on*");
        return;
    }
    json_end_without_memory();
    json_t *j = NULL;
    g_assert_cmpint(json_parse_object("{\"a\":\"b\"}", 9, &j), ==, 0);
    json_decref(j);
    g_print("parsed\n");
    json_get_alloc_funcs(&allocate, NULL);
    (void)allocate(PTRDIFF_MAX);
    g_print("went on\n");
    exit(0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json/strict", test_strict);
    g_test_add_func("/json/depth", test_depth);
    g_test_add_func("/json/values", test_values);
    g_test_add_func("/json/get", test_get);
    g_test_add_func("/json/write", test_write);
    g_test_add_func("/json/memory", test_memory);
    return g_test_run();
}
