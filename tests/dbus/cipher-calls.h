/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Calls of the real agent that must succeed, or fail as expected, on a text that is always the same. */

#include <string.h>

#include "tests/dbus/cipher.h"

#define TEXT "What Alice wrote"

static inline GVariant *encrypt_arguments(TestAgent *a, GVariantDict *options, GVariant *content)
{
    return g_variant_new("(as@ay@a{sv})", NULL, content, cipher_to_self(a, options));
}

static inline GByteArray *encrypt(TestAgent *a, const char *option, GVariant *value)
{
    GVariantDict options;
    g_variant_dict_init(&options, NULL);
    if (option)
        g_variant_dict_insert_value(&options, option, value);
    g_autoptr(GVariant) reply = cipher_call(
        a, "Encrypt", encrypt_arguments(a, &options, cipher_bytes(TEXT, strlen(TEXT))), NULL, NULL, NULL);
    g_autoptr(GVariant) packages = g_variant_get_child_value(reply, 0);
    g_assert_cmpuint(g_variant_n_children(packages), ==, 1);
    g_autoptr(GVariant) package = g_variant_get_child_value(packages, 0);
    return cipher_array(package);
}

static inline GVariant *decrypt_arguments(const GByteArray *p, const char *option)
{
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    if (option)
        g_variant_dict_insert(&options, option, "b", TRUE);
    return g_variant_new("(@ay@a{sv})", cipher_bytes(p->data, p->len), g_variant_dict_end(&options));
}

/* The info; to be freed. */
static inline GVariant *decrypt(TestAgent *a, const GByteArray *p, const char *option)
{
    g_autoptr(GVariant) reply = cipher_call(a, "Decrypt", decrypt_arguments(p, option), NULL, NULL, NULL);
    g_autoptr(GVariant) array = g_variant_get_child_value(reply, 0);
    g_autoptr(GByteArray) text = cipher_array(array);

    g_assert_cmpmem(text->data, text->len, TEXT, strlen(TEXT));
    return g_variant_get_child_value(reply, 1);
}

static inline char *decrypt_error(TestAgent *a, const GByteArray *p, const char *option, char **ret_text)
{
    char *name = NULL;
    g_autoptr(GVariant) reply =
        cipher_call(a, "Decrypt", decrypt_arguments(p, option), NULL, &name, ret_text);

    g_assert_null(reply);
    return name;
}

static inline void expect_error(TestAgent *a, const GByteArray *p, const char *option, const char *expected)
{
    g_autofree char *name = decrypt_error(a, p, option, NULL);

    g_assert_cmpstr(name, ==, expected);
}

static inline bool flag(GVariant *info, const char *key)
{
    gboolean value = FALSE;

    g_assert_true(g_variant_lookup(info, key, "b", &value));
    return value;
}

/* Converts a package. */
static inline GByteArray *convert(TestAgent *a, const GByteArray *p, const char *to)
{
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    if (to)
        g_variant_dict_insert(&options, "to", "s", to);
    g_autoptr(GVariant) reply =
        cipher_call(a, "Convert",
                    g_variant_new("(@ay@a{sv})", cipher_bytes(p->data, p->len), g_variant_dict_end(&options)),
                    NULL, NULL, NULL);
    g_autoptr(GVariant) array = g_variant_get_child_value(reply, 0);
    return cipher_array(array);
}

static inline void start(TestAgent *a)
{
    agent_start(a, NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
}

static inline const char *format_of(GVariant *info)
{
    const char *format = NULL;

    g_assert_true(g_variant_lookup(info, "format", "&s", &format));
    return format;
}

typedef struct CipherTest {
    const char *path;
    void (*f)(TestAgent *a, gconstpointer data);
} CipherTest;

/* What main() returns: each with an agent and a TPM of its own. */
static inline int cipher_tests_run(int argc, char **argv, const CipherTest *tests, size_t n)
{
    g_test_init(&argc, &argv, NULL);
    if (!test_swtpm_available()) {
        g_test_message("swtpm is not installed");
        return 77;
    }
    for (size_t i = 0; i < n; i++)
        g_test_add(tests[i].path, TestAgent, NULL, agent_set_up, tests[i].f, agent_tear_down);
    return g_test_run();
}
