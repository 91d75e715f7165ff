/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/mail-content.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"

static int parse(const void *data, size_t n, MailHead *ret, size_t *ret_size)
{
    /* of exactly this size, so that a read behind it is seen */
    g_autofree uint8_t *exact = g_malloc(MAX(n, 1));

    memcpy(exact, data, n);
    return mail_head_parse(exact, n, ret, ret_size);
}

static void test_round_trip(void)
{
    static const struct {
        const char *subject, *file_name;
    } cases[] = {{NULL, NULL},
                 {"Plans", NULL},
                 {NULL, "plans.pdf"},
                 {"Gr\xc3\xbc\xc3\x9f"
                  "e \"\\",
                  ".hidden file"}};

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        _cleanup_(buf_done) Buf b = BUF_MAX(8192);
        MailHead head;
        size_t size = 0;

        g_assert_cmpint(mail_head_build(cases[i].subject, cases[i].file_name, &b), ==, 0);
        size_t whole = b.size;
        g_assert_cmpint(buf_append_string(&b, "content"), ==, 0);
        for (size_t n = 0; n < whole; n++)
            g_assert_cmpint(parse(b.data, n, &head, &size), ==, -EAGAIN);
        g_assert_cmpint(parse(b.data, b.size, &head, &size), ==, 0);
        g_assert_cmpuint(size, ==, whole);
        g_assert_cmpstr(head.subject, ==, cases[i].subject ? cases[i].subject : "");
        g_assert_cmpstr(head.file_name, ==, cases[i].file_name ? cases[i].file_name : "");
    }
}

static void test_refused_to_build(void)
{
    static const char *const names[] = {"", ".", "..", "a/b", "/etc/passwd", "a\xff", "../x"};
    g_autofree char *long_text = g_strnfill(256, 'x');
    _cleanup_(buf_done) Buf b = BUF_MAX(8192);

    for (size_t i = 1; i < G_N_ELEMENTS(names); i++)
        g_assert_cmpint(mail_head_build(NULL, names[i], &b), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(mail_head_build(NULL, long_text, &b), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(mail_head_build(long_text, NULL, &b), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(mail_head_build("\xff", NULL, &b), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpuint(b.size, ==, 0);
}

/* What a hostile sender writes. */
static void test_refused_to_parse(void)
{
    static const char *const heads[] = {
        "",
        "[]",
        "{",
        "{\"subject\":1}",
        "{\"subject\":\"a\",\"subject\":\"b\"}",
        "{\"x\":\"y\"}",
        "{\"file_name\":\"../../etc/passwd\"}",
        "{\"file_name\":\"/etc/passwd\"}",
        "{\"file_name\":\"..\"}",
        "{\"file_name\":\"a\\u0000b\"}",
        "{\"subject\":\"\\ufffe\"}",
        "{\"file_name\":\"\\ufdd0\"}",
        "{} ",
    };
    MailHead head;
    size_t size = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(heads) - 1; i++) {
        _cleanup_(buf_done) Buf b = BUF_MAX(8192);

        g_assert_cmpint(buf_append_string(&b, MAIL_MAGIC), ==, 0);
        g_assert_cmpint(buf_append_u32(&b, (uint32_t)strlen(heads[i])), ==, 0);
        g_assert_cmpint(buf_append_string(&b, heads[i]), ==, 0);
        int r = parse(b.data, b.size, &head, &size);
        if (r != HMSG_ERROR_BAD_PACKAGE)
            g_error("%s: %d", heads[i], r);
    }
    static const char *const begins[] = {"x", "hmsgmaiX", "Hello, world, this is no head"};
    for (size_t i = 0; i < G_N_ELEMENTS(begins); i++)
        g_assert_cmpint(parse(begins[i], strlen(begins[i]), &head, &size), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(parse("hmsgmail\xff\xff\xff\xff", 12, &head, &size), ==, HMSG_ERROR_BAD_PACKAGE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/mail-content/round-trip", test_round_trip);
    g_test_add_func("/mail-content/refused-to-build", test_refused_to_build);
    g_test_add_func("/mail-content/refused-to-parse", test_refused_to_parse);
    return g_test_run();
}
