/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/der.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

static void test_take(void)
{
    static const uint8_t bytes[] = {0x30, 0x08, 0x02, 0x01, 0x05, 0x04, 0x03, 'a', 'b', 'c', 0x05, 0x00};
    Der d = der_of(bytes, sizeof(bytes));

    g_assert_true(der_is(&d, DER_SEQUENCE) && !der_is(&d, DER_SET));
    Der sequence = der_take(&d, DER_SEQUENCE);
    g_assert_cmpint(der_take_small(&sequence), ==, 5);
    Der again = sequence, whole = der_take_whole(&again, DER_OCTET_STRING);
    g_assert_true(der_done(&again) && der_equal(&whole, bytes + 5, 5));
    Der text = der_take(&sequence, DER_OCTET_STRING);
    g_assert_true(der_equal(&text, "abc", 3) && !der_equal(&text, "abd", 3) && !der_equal(&text, "ab", 2));
    g_assert_true(der_done(&sequence) && !der_done(&d));
    Der any = der_take_any(&d);
    g_assert_true(der_equal(&any, bytes + 10, 2) && der_done(&d));
    any = der_take_any(&d);
    g_assert_true(any.bad && d.bad && !der_done(&d));
}

/* What is bad stays bad, and so is all that is taken from it. */
static void test_bad(void)
{
    static const uint8_t bytes[] = {0x30, 0x03, 0x02, 0x01, 0x05};
    Der d = der_of(bytes, sizeof(bytes)), sequence = der_take(&d, DER_SET);

    g_assert_true(sequence.bad && d.bad && sequence.size == 0);
    g_assert_cmpint(der_take_small(&sequence), ==, -1);
    g_assert_true(der_take(&d, DER_SEQUENCE).bad);
    g_assert_false(der_is(&d, DER_SEQUENCE) || der_equal(&sequence, "", 0));
}

static void test_lengths(void)
{
    static const struct {
        uint8_t bytes[8];
        size_t n;
        bool right;
    } cases[] = {
        {{0x04, 0x00}, 2, true},
        {{0x04}, 1, false},                               /* no length */
        {{0x04, 0x02, 0}, 3, false},                      /* longer than there is */
        {{0x04, 0x80, 0, 0}, 4, false},                   /* indefinite */
        {{0x04, 0x81, 0x01, 0}, 4, false},                /* not the shortest */
        {{0x04, 0x82, 0x00, 0x01, 0}, 5, false},          /* the same */
        {{0x04, 0x81}, 2, false},                         /* cut */
        {{0x04, 0x84, 0xff, 0xff, 0xff, 0xff}, 6, false}, /* much longer than there is */
        {{0x04, 0x85, 0x01, 0, 0, 0, 0}, 7, false},       /* a length of five bytes */
        {{0x1f, 0x81, 0x01, 0x00}, 4, false},             /* a tag of several bytes */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        Der d = der_of(cases[i].bytes, cases[i].n), taken = der_take_any(&d);

        g_assert_cmpint(!taken.bad && der_done(&d), ==, cases[i].right);
    }
}

static void test_small(void)
{
    static const uint8_t bad[][4] = {
        {0x02, 0x01, 0x80}, {0x02, 0x02, 0x00, 0x01}, {0x02, 0x00}, {0x04, 0x01, 1}};

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        Der d = der_of(bad[i], bad[i][1] + 2u);

        g_assert_cmpint(der_take_small(&d), ==, -1);
        g_assert_true(d.bad);
    }
}

/* Every length comes back from what is written, around the borders of the forms. */
static void test_write(void)
{
    static const size_t sizes[] = {0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000};
    g_autofree uint8_t *data = g_malloc0(0x10000);

    memset(data, 'x', 0x10000);
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        _cleanup_(buf_done) Buf b = BUF_MAX(0x20000), wrapped = BUF_MAX(0x20000);

        g_assert_cmpint(buf_append(&b, "before", 6), ==, 0);
        g_assert_cmpint(der_append(&b, DER_OCTET_STRING, data, sizes[i]), ==, 0);
        Der d = der_of(b.data + 6, b.size - 6), content = der_take(&d, DER_OCTET_STRING);
        g_assert_true(der_done(&d) && der_equal(&content, data, sizes[i]));
        g_assert_cmpint(buf_append(&wrapped, "before", 6), ==, 0);
        if (sizes[i] > 0)
            g_assert_cmpint(buf_append(&wrapped, data, sizes[i]), ==, 0);
        g_assert_cmpint(der_wrap(&wrapped, 6, DER_OCTET_STRING), ==, 0);
        g_assert_cmpmem(wrapped.data, wrapped.size, b.data, b.size);
    }
    _cleanup_(buf_done) Buf small = BUF_MAX(4);
    g_assert_cmpint(der_append(&small, DER_OCTET_STRING, "abc", 3), ==, -EMSGSIZE);
}

static void test_sorted(void)
{
    static const char *const texts[] = {"bc", "b", "abc", "ab"};
    _cleanup_(buf_done) Buf b = BUF_MAX(64);
    Buf items[G_N_ELEMENTS(texts)];

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        items[i] = BUF_MAX(8);
        g_assert_cmpint(buf_append_string(&items[i], texts[i]), ==, 0);
    }
    g_assert_cmpint(der_append_sorted(&b, items, G_N_ELEMENTS(items)), ==, 0);
    g_assert_cmpstr(buf_text(&b), ==, "ababcbbc");
    for (size_t i = 0; i < G_N_ELEMENTS(items); i++)
        buf_done(&items[i]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/der/take", test_take);
    g_test_add_func("/der/bad", test_bad);
    g_test_add_func("/der/lengths", test_lengths);
    g_test_add_func("/der/small", test_small);
    g_test_add_func("/der/write", test_write);
    g_test_add_func("/der/sorted", test_sorted);
    return g_test_run();
}
