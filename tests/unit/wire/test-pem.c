/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/pem.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"

static void test_round_trip(void)
{
    uint8_t data[200];

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)i;
    for (size_t n = 0; n <= sizeof(data); n++) {
        _cleanup_(buf_done) Buf text = BUF_MAX(1024), back = BUF_MAX(sizeof(data));

        g_assert_cmpint(pem_append(&text, "CMS", data, n), ==, 0);
        g_assert_true(pem_is(buf_text(&text), text.size, "CMS"));
        g_assert_false(pem_is(buf_text(&text), text.size, "CM"));
        g_assert_cmpint(pem_read(buf_text(&text), text.size, "CMS", &back), ==, 0);
        g_assert_cmpmem(back.data, back.size, data, n);
        g_assert_cmpint(pem_read(buf_text(&text), text.size, "PKCS7", &back), ==, HMSG_ERROR_BAD_PACKAGE);
    }
}

static void test_forms(void)
{
    static const struct {
        const char *text;
        bool right;
    } cases[] = {
        {"-----BEGIN X-----\nYWJj\n-----END X-----\n", true},
        {" \r\n-----BEGIN X-----\r\nYW\r\nJj\r\n-----END X-----\r\n\n ", true},
        {"-----BEGIN X-----YWJj-----END X-----", true},
        {"before -----BEGIN X-----\nYWJj\n-----END X-----\n", false},
        {"-----BEGIN X-----\nYWJj\n-----END X-----\nbehind", false},
        {"-----BEGIN X-----\nYWJj\n-----END Y-----\n", false},
        {"-----BEGIN X-----\nYWJ\n-----END X-----\n", false},
        {"-----BEGIN X-----\nA: b\n\nYWJj\n-----END X-----\n", false},
        {"-----BEGIN X-----\nYWJj\n", false},
        {"-----BEGIN X-----", false},
        {"-----END X-----", false},
        {"", false},
        {"-----BEGIN X-----\nYWJjYWJj\n-----END X-----\n", false}, /* more than there is room for */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        _cleanup_(buf_done) Buf back = BUF_MAX(4);
        int r = pem_read(cases[i].text, strlen(cases[i].text), "X", &back);

        g_assert_cmpint(r, ==, cases[i].right ? 0 : HMSG_ERROR_BAD_PACKAGE);
        if (r == 0)
            g_assert_cmpstr(buf_text(&back), ==, "abc");
        else
            g_assert_cmpuint(back.size, ==, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pem/round-trip", test_round_trip);
    g_test_add_func("/pem/forms", test_forms);
    return g_test_run();
}
