/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/encode.h"

static void test_rfc4648(void)
{
    static const char *const vectors[][3] = {
        {"", "", ""},
        {"f", "Zg", "Zg=="},
        {"fo", "Zm8", "Zm8="},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg", "Zm9vYg=="},
        {"fooba", "Zm9vYmE", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(vectors); i++) {
        Buf url = BUF_MAX(100), std = BUF_MAX(100), back = BUF_MAX(100);
        size_t n = strlen(vectors[i][0]);
        g_assert_cmpint(base64url_append(&url, vectors[i][0], n), ==, 0);
        g_assert_cmpstr(buf_text(&url), ==, vectors[i][1]);
        g_assert_cmpint(base64_append(&std, vectors[i][0], n), ==, 0);
        g_assert_cmpstr(buf_text(&std), ==, vectors[i][2]);
        g_assert_cmpint(base64url_decode(buf_text(&url), url.size, &back), ==, 0);
        g_assert_cmpint(base64_decode(buf_text(&std), std.size, &back), ==, 0);
        g_assert_cmpuint(back.size, ==, 2 * n);
        buf_done(&url);
        buf_done(&std);
        buf_done(&back);
    }
}

static void test_refuses(void)
{
    /* padding, white space, the other alphabet, trailing bits, an impossible length, an inner 0 */
    static const char *const bad[] = {"Zg==", "Zm9v ", "Zm9v\n", "+/+/", "Zh", "Zm9", "Z", "Zm9vZ", "Zm=v"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        Buf b = BUF_MAX(100);
        g_assert_cmpint(base64url_decode(bad[i], strlen(bad[i]), &b), ==, -EBADMSG);
        g_assert_cmpuint(b.size, ==, 0);
        buf_done(&b);
    }
    static const char *const bad_std[] = {"Zg=",
                                          "Zg",
                                          "Zh==",
                                          "=",
                                          "====",
                                          "Zm9v====",
                                          "Zg=="
                                          "Zg=="};
    for (size_t i = 0; i < G_N_ELEMENTS(bad_std); i++) {
        Buf b = BUF_MAX(100);
        g_assert_cmpint(base64_decode(bad_std[i], strlen(bad_std[i]), &b), ==, -EBADMSG);
        buf_done(&b);
    }
    Buf small = BUF_MAX(2);
    g_assert_cmpint(base64url_decode("Zm9v", 4, &small), ==, -EMSGSIZE);
    buf_done(&small);
}

static void test_exact(void)
{
    uint8_t out[3] = {9, 9, 9};
    g_assert_cmpint(base64url_decode_exact("Zm8", 3, out, 3), ==, -EBADMSG);
    g_assert_cmpint(base64url_decode_exact("Zm9.", 4, out, 3), ==, -EBADMSG);
    g_assert_cmpmem(out, 3, "\x09\x09\x09", 3);
    g_assert_cmpint(base64url_decode_exact("Zm9v", 4, out, 3), ==, 0);
    g_assert_cmpmem(out, 3, "foo", 3);
}

static void test_hex(void)
{
    char text[7];
    hex_encode("\x00\xab\xff", 3, text);
    g_assert_cmpstr(text, ==, "00abff");
}

static void test_utf8(void)
{
    static const char *const good[] = {
        "", "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xef\xbf\xbd"};
    static const struct {
        const char *text, *repaired;
    } bad[] = {
        {"a\xc3", "a?"},                /* cut */
        {"\xe2\x82", "??"},             /* cut */
        {"\x80z", "?z"},                /* a tail alone */
        {"\xc0\xaf", "??"},             /* overlong */
        {"\xe0\x80\xaf", "???"},        /* overlong */
        {"\xed\xa0\x80", "???"},        /* surrogate */
        {"\xf4\x90\x80\x80", "????"},   /* above U+10FFFF */
        {"\xff", "?"},                  /* never in UTF-8 */
        {"\xef\xbf\xbe", "???"},        /* noncharacter U+FFFE */
        {"\xef\xb7\x90", "???"},        /* noncharacter U+FDD0 */
        {"\xf0\x9f\xbf\xbf.", "????."}, /* noncharacter U+1FFFF */
    };
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *copy = g_strdup(good[i]);
        g_assert_true(utf8_is_text(good[i]));
        utf8_repair(copy);
        g_assert_cmpstr(copy, ==, good[i]);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *copy = g_strdup(bad[i].text);
        g_assert_false(utf8_is_text(copy));
        utf8_repair(copy);
        g_assert_cmpstr(copy, ==, bad[i].repaired);
        g_assert_true(utf8_is_text(copy));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/encode/rfc4648", test_rfc4648);
    g_test_add_func("/base/encode/refuses", test_refuses);
    g_test_add_func("/base/encode/exact", test_exact);
    g_test_add_func("/base/encode/hex", test_hex);
    g_test_add_func("/base/encode/utf8", test_utf8);
    return g_test_run();
}
