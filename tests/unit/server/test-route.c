/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <string.h>

#include "server/route.h"

static const HttpRoute routes[] = {
    {.method = "GET", .pattern = "/v1/names/{name}"},
    {.method = "PUT", .pattern = "/v1/boxes/{kid}/messages/{id}"},
    {.method = "GET", .pattern = "/v1/box"},
    {.method = "POST", .pattern = "/v1/box"},
};

static int find(const char *method, const char *target, Target *t, const HttpRoute **ret, char *allow)
{
    int r = target_parse(target, strlen(target), t);

    return r == 0 ? route_find(routes, G_N_ELEMENTS(routes), method, t, ret, allow) : r;
}

static void test_find(void)
{
    char allow[ALLOW_SIZE];
    const HttpRoute *r = NULL;
    Target t;

    g_assert_cmpint(find("GET", "/v1/names/bob", &t, &r, allow), ==, 0);
    g_assert_true(r == &routes[0]);
    g_assert_cmpstr(t.values[0], ==, "bob");
    g_assert_null(t.values[1]);
    g_assert_cmpint(find("PUT", "/v1/boxes/a%2Fb/messages/%c3%A9?x=%3d&y=", &t, &r, allow), ==, 0);
    g_assert_true(r == &routes[1]);
    g_assert_cmpstr(t.values[0], ==, "a/b");
    g_assert_cmpstr(t.values[1], ==, "\303\251");
    g_assert_cmpstr(target_query(&t, "x"), ==, "=");
    g_assert_cmpstr(target_query(&t, "y"), ==, "");
    g_assert_null(target_query(&t, "z"));
    g_assert_cmpint(find("POST", "/v1/box", &t, &r, allow), ==, 0);
    g_assert_true(r == &routes[3]);
}

static void test_not_found(void)
{
    static const char *const targets[] = {
        "/",
        "/v1",
        "/v1/names",
        "/v1/names/",
        "/v1/names/a/",
        "/v1//box",
        "//v1/box",
        "/v1/box/",
        "/V1/box",
        "/v1/b%6fx",
        "/v1/./box",
        "/v1/boxx",
        "/v1/names/a/b",
        "/v1/boxes//messages/",
        "/v1/boxes/a/messages/",
        "/v1/../box",
        "/box",
        "/v1/%2e%2e/box",
    };
    char allow[ALLOW_SIZE];
    const HttpRoute *r = NULL;
    Target t;

    for (size_t i = 0; i < G_N_ELEMENTS(targets); i++)
        g_assert_cmpint(find("GET", targets[i], &t, &r, allow), ==, PROBLEM_NOT_FOUND);
    g_assert_null(r);
}

static void test_method(void)
{
    char allow[ALLOW_SIZE];
    const HttpRoute *r = NULL;
    Target t;

    g_assert_cmpint(find("DELETE", "/v1/box", &t, &r, allow), ==, PROBLEM_METHOD_NOT_ALLOWED);
    g_assert_cmpstr(allow, ==, "GET, POST");
    g_assert_cmpint(find("", "/v1/names/a", &t, &r, allow), ==, PROBLEM_METHOD_NOT_ALLOWED);
    g_assert_cmpint(find("get", "/v1/names/a", &t, &r, allow), ==, PROBLEM_METHOD_NOT_ALLOWED);
    g_assert_cmpstr(allow, ==, "GET");
}

static void test_bad(void)
{
    static const char *const targets[] = {
        "",
        "*",
        "v1/box",
        "https://relay/v1/box",
        "/v1/names/%",
        "/v1/names/%4",
        "/v1/names/%4g",
        "/v1/names/a%00",
        "/v1/box#a",
        "/v1/box?a",
        "/v1/box?=1",
        "/v1/box?a=1&",
        "/v1/box?a=1&&b=2",
        "/v1/box?a=1&a=2",
        "/v1/box?a=1&%61=2",
        "/v1/box?a=%0",
        "/v1/box?a=1&b=1&c=1&d=1&e=1&f=1&g=1&h=1&i=1",
    };
    char allow[ALLOW_SIZE];
    const HttpRoute *r = NULL;
    Target t;

    for (size_t i = 0; i < G_N_ELEMENTS(targets); i++)
        g_assert_cmpint(find("GET", targets[i], &t, &r, allow), ==, PROBLEM_BAD_REQUEST);
    g_assert_cmpint(target_parse("/a\0b", 4, &t), ==, PROBLEM_BAD_REQUEST);
}

static void test_size(void)
{
    char text[TARGET_SIZE_MAX + 2];
    char allow[ALLOW_SIZE];
    const HttpRoute *r = NULL;
    Target t;

    memset(text, 'a', sizeof(text));
    memcpy(text, "/v1/names/", 10);
    g_assert_cmpint(target_parse(text, TARGET_SIZE_MAX + 1, &t), ==, PROBLEM_BAD_REQUEST);
    text[TARGET_SIZE_MAX] = '\0';
    g_assert_cmpint(find("GET", text, &t, &r, allow), ==, 0);
    g_assert_cmpuint(strlen(t.values[0]), ==, TARGET_SIZE_MAX - 10);
    memcpy(text, "/v1/box?b=", 10);
    g_assert_cmpint(find("GET", text, &t, &r, allow), ==, 0);
    g_assert_cmpuint(strlen(target_query(&t, "b")), ==, TARGET_SIZE_MAX - 10);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/route/find", test_find);
    g_test_add_func("/server/route/not-found", test_not_found);
    g_test_add_func("/server/route/method", test_method);
    g_test_add_func("/server/route/bad", test_bad);
    g_test_add_func("/server/route/size", test_size);
    return g_test_run();
}
