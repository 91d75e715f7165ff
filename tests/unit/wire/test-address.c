/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/address.h"

#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"

#define PIN "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA"

static void test_canonical(void)
{
    static const struct {
        const char *text, *canonical;
    } cases[] = {
        {"bob@example.org", "bob@example.org"},
        {"bob@Example.ORG:7443", "bob@example.org"},
        {"bob@example.org:443", "bob@example.org:443"},
        {"+49.30-1_2@127.0.0.1:1#" PIN, "+49.30-1_2@127.0.0.1:1#" PIN},
        {"bob@[0:0:0:0:0:0:0:1]:65535", "bob@[::1]:65535"},
        {"bob@[2001:DB8::1]#" PIN, "bob@[2001:db8::1]#" PIN},
        {"b@localhost", "b@localhost"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        _cleanup_(buf_done) Buf text = BUF_MAX(ADDRESS_SIZE_MAX);
        Address a;

        g_assert_cmpint(address_parse(cases[i].text, &a), ==, 0);
        g_assert_cmpint(address_format(&a, true, &text), ==, 0);
        g_assert_cmpstr(buf_text(&text), ==, cases[i].canonical);
        buf_clear(&text);
        g_assert_cmpint(address_format(&a, false, &text), ==, 0);
        g_assert_null(strchr(buf_text(&text), '#'));
    }
}

static void test_refused(void)
{
    static const char *const bad[] = {
        "",
        "@",
        "bob",
        "bob@",
        "@example.org",
        "Bob@example.org",
        "b b@example.org",
        "bob@exa mple.org",
        "bob@-example.org",
        "bob@example-.org",
        "bob@example..org",
        "bob@.org",
        "bob@example.org.",
        "bob@example.org:",
        "bob@example.org:0",
        "bob@example.org:07",
        "bob@example.org:65536",
        "bob@example.org:1x",
        "bob@example.org#",
        "bob@example.org#short",
        "bob@example.org#" PIN "A",
        "bob@example.org#AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyB", /* trailing bits */
        "bob@[::1",
        "bob@::1",
        "bob@[]",
        "bob@[::1]x",
        "bob@[127.0.0.1]",
        "bob@1.2.3",
        "bob@1.2.3.4.5",
        "bob@256.1.1.1",
        "bob@example.org/",
        "b\xc3\xb6"
        "b@example.org",
        "bob@ex\xc3\xa4"
        "mple.org",
        "bob@example.org\n",
        "a@b@c",
    };
    Address a = {.name = "kept"};

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        if (address_parse(bad[i], &a) != HMSG_ERROR_INVALID_ARGS)
            g_error("accepted: %s", bad[i]);
        g_assert_cmpstr(a.name, ==, "kept");
    }
}

static void test_limits(void)
{
    g_autofree char *name = g_strnfill(NAME_SIZE_MAX, 'a'), *long_name = g_strnfill(NAME_SIZE_MAX + 1, 'a');
    g_autofree char *label = g_strnfill(63, 'x'), *long_label = g_strnfill(64, 'x');
    g_autofree char *huge = g_strnfill(100000, 'a');
    g_autofree char *fits = g_strdup_printf("%s@%s.%s.%s.%.61s:65535#" PIN, name, label, label, label, label);
    g_autofree char *one_more = g_strdup_printf("a@%s.%s.%s.%.62s", label, label, label, label);
    g_autofree char *bad_label = g_strdup_printf("a@%s.org", long_label);
    Address a;

    g_assert_true(name_valid(name));
    g_assert_false(name_valid(long_name));
    g_assert_false(name_valid(""));
    g_assert_cmpint(address_parse(fits, &a), ==, 0);
    g_assert_cmpint(address_parse(one_more, &a), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(address_parse(bad_label, &a), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(address_parse(huge, &a), ==, HMSG_ERROR_INVALID_ARGS);
}

static void test_relay(void)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(ADDRESS_SIZE_MAX);
    Relay a, b;

    g_assert_cmpint(relay_parse("example.org", &a), ==, 0);
    g_assert_cmpint(relay_format_full(&a, &text), <, 0);
    g_assert_cmpint(relay_parse("example.org:7443#" PIN, &b), ==, 0);
    g_assert_cmpint(relay_format_full(&b, &text), ==, 0);
    g_assert_cmpstr(buf_text(&text), ==, "example.org:7443#" PIN);
    g_assert_true(relay_equal(&a, &b));
    a = b;
    a.pin[0] ^= 1;
    g_assert_false(relay_equal(&a, &b));
    a = b;
    a.port++;
    g_assert_false(relay_equal(&a, &b));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/address/canonical", test_canonical);
    g_test_add_func("/address/refused", test_refused);
    g_test_add_func("/address/limits", test_limits);
    g_test_add_func("/address/relay", test_relay);
    return g_test_run();
}
