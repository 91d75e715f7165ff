/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/password.h"

#include <glib.h>
#include <string.h>

static unsigned bits(const char *text)
{
    _cleanup_(secret_freep) Secret *s = NULL;

    g_assert_cmpint(secret_new_copy(text, strlen(text), &s), ==, 0);
    return password_bits(s);
}

static void test_weak(void)
{
    static const char *const weak[] = {"2580",
                                       "12345678901234567890123",
                                       "passwordpassword",
                                       "correcthorse",
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                       "Passw0rd!",
                                       "abcdefghijklmnopqrstuvwxyzabcdefghi",
                                       "abababababababababababababab"};

    for (size_t i = 0; i < ELEMENTSOF(weak); i++)
        g_assert_cmpuint(bits(weak[i]), <, PASSWORD_BITS_MIN);
}

static void test_strong(void)
{
    static const char *const strong[] = {"correct horse battery staple", "kX7-pQ2vR9!w", "7b1f9c3e8a2d6054e7",
                                         "9r4Zb0mVxWq1TsKd"};

    for (size_t i = 0; i < ELEMENTSOF(strong); i++)
        g_assert_cmpuint(bits(strong[i]), >=, PASSWORD_BITS_MIN);
}

static void test_values(void)
{
    g_assert_cmpuint(bits("k"), ==, 3);
    g_assert_cmpuint(bits("kx"), ==, 6);
    g_assert_cmpuint(bits("kx7"), ==, 12);
    g_assert_cmpuint(bits("kx7-"), ==, 20);
    g_assert_cmpuint(bits("Kx7-"), ==, 20);
    g_assert_cmpuint(bits("kk"), ==, 4);
    g_assert_cmpuint(bits("kl"), ==, 4);
    g_assert_cmpuint(bits("kxk"), ==, 7);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/agent/password/weak", test_weak);
    g_test_add_func("/agent/password/strong", test_strong);
    g_test_add_func("/agent/password/values", test_values);
    return g_test_run();
}
