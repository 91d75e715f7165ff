/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <string.h>

#include "agent/courier/problem.h"

#define TYPE "application/problem+json"
#define SAYS "The relay says: "

static void test_statuses(void)
{
    const struct {
        unsigned status;
        const char *name;
    } cases[] = {
        {400, PROBLEM_REFUSED},     {401, PROBLEM_LOGIN_REQUIRED}, {403, PROBLEM_REFUSED},
        {404, PROBLEM_NOT_FOUND},   {405, PROBLEM_REFUSED},        {409, PROBLEM_CONFLICT},
        {413, PROBLEM_TOO_LARGE},   {415, PROBLEM_REFUSED},        {429, PROBLEM_BUSY},
        {500, PROBLEM_UNREACHABLE}, {503, PROBLEM_UNREACHABLE},    {507, PROBLEM_FULL},
        {302, PROBLEM_PROTOCOL},    {101, PROBLEM_PROTOCOL},       {600, PROBLEM_PROTOCOL},
        {0, PROBLEM_PROTOCOL},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        Problem p;

        problem_from_answer(&p, cases[i].status, NULL, NULL, "", 0);
        g_assert_cmpstr(p.name, ==, cases[i].name);
        g_assert_cmpstr(p.text, !=, "");
    }
}

static void check_text(const char *type, const char *retry_after, const char *body, const char *expected)
{
    Problem p;

    problem_from_answer(&p, 429, type, retry_after, body, strlen(body));
    g_assert_cmpstr(p.name, ==, PROBLEM_BUSY);
    g_assert_cmpstr(p.text, ==, expected);
}

static void test_texts(void)
{
    g_autofree char *much = g_strnfill(1000, 'x');
    g_autofree char *body = g_strdup_printf("{\"detail\":\"%s\"}", much);
    g_autofree char *cut = g_strdup_printf("retry=9 " SAYS "%.*s", (int)PROBLEM_REMOTE_TEXT_MAX, much);
    const char *none = "The relay answered with status 429";

    check_text(TYPE, NULL, "{\"title\":\"Slow down\"}", SAYS "Slow down");
    check_text(TYPE "; charset=utf-8", "7", "{\"title\":\"a\",\"detail\":\"b\"}", "retry=7 " SAYS "b");
    check_text(TYPE, NULL, "{\"detail\":\"\\u001b[2Jn\xc3\xb6\\n\"}", SAYS "?[2Jn???");
    check_text(TYPE, "9", body, cut);
    check_text(TYPE, NULL, "garbage", none);
    check_text(TYPE, NULL, "{\"title\":1}", none);
    check_text(TYPE, NULL, "{\"title\":\"\"}", none);
    check_text("text/html", NULL, "{\"title\":\"a\"}", none);
    check_text(TYPE "x", NULL, "{\"title\":\"a\"}", none);
    check_text(NULL, NULL, "{\"title\":\"a\"}", none);
    check_text(TYPE, "Wed, 21 Oct 2037 07:28:00 GMT", "{\"title\":\"a\"}", SAYS "a");
    check_text(TYPE, NULL, "{\"title\":\"retry=5 \"}", SAYS "retry=5 ");
}

static void test_retry_after(void)
{
    const char *const bad[] = {"", " 1", "1 ", "-1", "+1", "1.5", "0x1", "12345678901", "soon"};
    unsigned v = 42;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(retry_after_parse(bad[i], &v));
    g_assert_cmpuint(v, ==, 42);
    g_assert_true(retry_after_parse("0", &v));
    g_assert_cmpuint(v, ==, 0);
    g_assert_true(retry_after_parse("120", &v));
    g_assert_cmpuint(v, ==, 120);
    g_assert_true(retry_after_parse("9999999999", &v));
    g_assert_cmpuint(v, ==, PROBLEM_RETRY_AFTER_MAX);
}

static void test_media_type(void)
{
    g_assert_true(media_type_is("Application/JSON", "application/json"));
    g_assert_true(media_type_is("application/json ; a=b", "application/json"));
    g_assert_false(media_type_is("application/jsonx", "application/json"));
    g_assert_false(media_type_is("application/jso", "application/json"));
    g_assert_false(media_type_is("", "application/json"));
    g_assert_false(media_type_is(NULL, "application/json"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/courier/problem/statuses", test_statuses);
    g_test_add_func("/courier/problem/texts", test_texts);
    g_test_add_func("/courier/problem/retry-after", test_retry_after);
    g_test_add_func("/courier/problem/media-type", test_media_type);
    return g_test_run();
}
