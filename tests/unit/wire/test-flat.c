/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/flat.h"
#include "libhmsg/wire/json.h"

static int parse(const char *text, Flat *f)
{
    *f = (Flat){.n = 0};
    return flat_parse(text, strlen(text), f);
}

static void test_members(void)
{
    static const char *const names[] = {"a", "b", "c", NULL};
    static const char text[] = " { \"a\" : \"x-_\" ,\n\"b\":-12,\"c\":{\"d\":\"y\"} }\t";
    const char *value = NULL;
    int64_t number = 0;
    size_t n = 0;
    Flat f, c;

    g_assert_cmpint(parse(text, &f), ==, 0);
    g_assert_cmpint(flat_check_names(&f, names), ==, 0);
    g_assert_cmpint(flat_check_names(&f, names + 1), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_true(flat_has(&f, "b") && !flat_has(&f, "d"));
    g_assert_cmpint(flat_get_text(&f, "a", 3, &value, &n), ==, 0);
    g_assert_cmpmem(value, n, "x-_", 3);
    g_assert_true(value > text && value < text + sizeof(text)); /* in place */
    g_assert_cmpint(flat_get_text(&f, "a", 2, &value, &n), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(flat_get_text(&f, "b", 9, &value, &n), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(flat_get_number(&f, "b", -12, 0, &number), ==, 0);
    g_assert_cmpint(number, ==, -12);
    g_assert_cmpint(flat_get_number(&f, "b", -11, 0, &number), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(flat_get_object(&f, "a", &c), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(flat_get_object(&f, "c", &c), ==, 0);
    g_assert_cmpint(flat_expect_text(&c, "d", "y"), ==, 0);
    g_assert_cmpint(flat_expect_text(&c, "d", "yy"), ==, HMSG_ERROR_BAD_PACKAGE);
    flat_done(&c);
    flat_done(&f);
}

static void test_bytes(void)
{
    _cleanup_(buf_done) Buf b = BUF_MAX(3), small = BUF_MAX(2);
    uint8_t three[3];
    Flat f;

    g_assert_cmpint(parse("{\"a\":\"YWJj\",\"b\":\"YWJ=\"}", &f), ==, 0);
    g_assert_cmpint(flat_get_bytes(&f, "a", three, 3), ==, 0);
    g_assert_cmpmem(three, 3, "abc", 3);
    g_assert_cmpint(flat_get_bytes(&f, "a", three, 2), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(flat_get_bytes(&f, "b", three, 3), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(flat_get_buf(&f, "a", &b), ==, 0);
    g_assert_cmpint(flat_get_buf(&f, "a", &small), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(flat_get_buf(&f, "c", &small), ==, HMSG_ERROR_BAD_PACKAGE);
    flat_done(&f);
}

/* Right, but not plain: means the same. */
static void test_rewritten(void)
{
    int64_t number = 0;
    Flat f;

    g_assert_cmpint(parse("{\"\\u0061\":\"\\u0078\\/y\",\"n\":-0}", &f), ==, 0);
    g_assert_cmpint(flat_expect_text(&f, "a", "x/y"), ==, 0);
    g_assert_cmpint(flat_get_number(&f, "n", 0, 0, &number), ==, 0);
    flat_done(&f);
}

static void test_refused(void)
{
    static const char *const texts[] = {
        "",
        "{",
        "}",
        "[]",
        "\"a\"",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,\"a\":1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1}x",
        "{\"a\":1}{}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1,\"\\u0061\":2}",
        "{\"a\":{\"b\":1,\"b\":1}}",
        "{\"a\":{\"b\":{\"c\":1}}}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":-}",
        "{\"a\":1.0}",
        "{\"a\":1e2}",
        "{\"a\":99999999999999999999}",
        "{\"a\":true}",
        "{\"a\":null}",
        "{\"a\":[]}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\xc3\xa4\"}",
        "{\"a\":\"\xff\"}",
        "{'a':1}",
        "{\"a\":1}\f",
    };
    g_autoptr(GString) many = g_string_new("{\"m\":0");
    Flat f;

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        if (parse(texts[i], &f) != HMSG_ERROR_BAD_PACKAGE)
            g_error("taken: %s", texts[i]);
    g_assert_cmpint(flat_parse("{\"a\":1}\0", 8, &f), ==, HMSG_ERROR_BAD_PACKAGE);
    for (unsigned i = 1; i <= FLAT_MEMBERS_MAX; i++)
        g_string_append_printf(many, ",\"m%u\":0", i);
    g_string_append(many, "}");
    g_assert_cmpint(parse(many->str, &f), ==, HMSG_ERROR_BAD_PACKAGE);
}

/* Whatever a byte becomes: what is taken, jansson takes as well. */
static void test_mutations(void)
{
    char text[] = "{\"a\":\"bc\", \"d\":120,\"e\":{\"f\":-1}}";
    Flat f;

    for (size_t i = 0; i + 1 < sizeof(text); i++)
        for (unsigned c = 0; c < 256; c++) {
            const char before = text[i];
            json_t *j = NULL;

            text[i] = (char)c;
            f = (Flat){.n = 0};
            if (flat_parse(text, sizeof(text) - 1, &f) == 0) {
                g_assert_cmpint(json_parse_object(text, sizeof(text) - 1, &j), ==, 0);
                g_assert_cmpuint(json_object_size(j), ==, f.n);
                json_decref(j);
                flat_done(&f);
            }
            text[i] = before;
        }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flat/members", test_members);
    g_test_add_func("/flat/bytes", test_bytes);
    g_test_add_func("/flat/rewritten", test_rewritten);
    g_test_add_func("/flat/refused", test_refused);
    g_test_add_func("/flat/mutations", test_mutations);
    return g_test_run();
}
