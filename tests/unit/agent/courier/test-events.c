/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "agent/courier/events.h"
#include "libhmsg/base/error.h"

static int collect(const char *name, const char *data, size_t n, void *userdata)
{
    g_assert_cmpuint(strlen(data), ==, n);
    g_string_append_printf(userdata, "[%s|%s]", name, data);
    return strcmp(name, "stop") == 0 ? -ECANCELED : 0;
}

/* Fed in two pieces cut at, and byte by byte when at is beyond. */
static int feed(const char *stream, size_t size, size_t at, char **ret)
{
    GString *out = g_string_new(NULL);
    Events *e = NULL;
    int r;

    g_assert_cmpint(events_new(collect, out, &e), ==, 0);
    if (at <= size) {
        r = events_feed(e, stream, at);
        if (r == 0)
            r = events_feed(e, stream + at, size - at);
    } else {
        r = 0;
        for (size_t i = 0; i < size && r == 0; i++)
            r = events_feed(e, stream + i, 1);
    }
    events_free(e);
    *ret = g_string_free(out, FALSE);
    return r;
}

static void check(const char *stream, const char *expected)
{
    size_t size = strlen(stream);

    for (size_t at = 0; at <= size + 1; at++) {
        g_autofree char *out = NULL;

        g_assert_cmpint(feed(stream, size, at, &out), ==, 0);
        g_assert_cmpstr(out, ==, expected);
    }
}

static void test_streams(void)
{
    check("", "");
    check("event: ready\ndata: {}\n\n", "[ready|{}]");
    check("event: mail\r\ndata: {\"seq\":1}\r\n\r\nevent: mail\r\ndata: 2\r\n\r\n",
          "[mail|{\"seq\":1}][mail|2]");
    check("event:a\rdata:b\r\rdata:c\r\r", "[a|b][message|c]");
    check("\xef\xbb\xbf"
          "data: x\n\n",
          "[message|x]");
    check(": a comment\n:\n\ndata: one\ndata: two\ndata\n\n", "[message|one\ntwo\n]");
    check("data:  two spaces\n\n", "[message| two spaces]");
    check("event: lost\n\ndata: x\n\n", "[message|x]");
    check("event: a\nevent: b\nid: 7\nretry: 1\nunknown\ndata: x\n\n", "[b|x]");
    check("dat: x\ndataa: y\n\n\n\n", "");
    check("event: a\ndata: not ended", "");
    check("data\n\n", "[message|]");
}

static void test_limits(void)
{
    g_autofree char *longest = g_strnfill(EVENT_DATA_MAX, 'x');
    g_autofree char *good = g_strdup_printf("data: %s\n\n", longest);
    g_autofree char *much = g_strdup_printf("data: %s\ndata: y\n\n", longest);
    g_autofree char *line = g_strnfill(EVENT_LINE_MAX + 1, ':');
    g_autofree char *name = g_strnfill(EVENT_NAME_MAX + 1, 'n');
    g_autofree char *named = g_strdup_printf("event: %s\n", name);
    const struct {
        const char *stream;
        size_t size;
        int r;
    } cases[] = {
        {good, strlen(good), 0},
        {much, strlen(much), HMSG_ERROR_BAD_PACKAGE},
        {line, strlen(line), HMSG_ERROR_BAD_PACKAGE},
        {named, strlen(named), HMSG_ERROR_BAD_PACKAGE},
        {"data: a\0b\n\n", 11, HMSG_ERROR_BAD_PACKAGE},
        {"event: stop\ndata: 1\n\ndata: 2\n\n", 31, -ECANCELED},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (size_t at = 0; at <= cases[i].size + 1; at += at < cases[i].size ? 37 : 1) {
            g_autofree char *out = NULL;

            g_assert_cmpint(feed(cases[i].stream, cases[i].size, MIN(at, cases[i].size + 1), &out), ==,
                            cases[i].r);
        }
}

static void test_garbage(void)
{
    GRand *random = g_rand_new_with_seed(7443);
    static const char alphabet[] = "\n\r: eventdata\xff{}";

    for (unsigned i = 0; i < 2000; i++) {
        char stream[200];
        g_autofree char *whole = NULL;
        g_autofree char *pieces = NULL;

        for (size_t k = 0; k < sizeof(stream); k++)
            stream[k] = alphabet[g_rand_int_range(random, 0, sizeof(alphabet) - 1)];
        g_assert_cmpint(feed(stream, sizeof(stream), 0, &whole), ==, 0);
        g_assert_cmpint(feed(stream, sizeof(stream), sizeof(stream) + 1, &pieces), ==, 0);
        g_assert_cmpstr(whole, ==, pieces);
    }
    g_rand_free(random);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/courier/events/streams", test_streams);
    g_test_add_func("/courier/events/limits", test_limits);
    g_test_add_func("/courier/events/garbage", test_garbage);
    return g_test_run();
}
