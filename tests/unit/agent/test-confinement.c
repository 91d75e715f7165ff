/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/confinement.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "tests/unit/agent/fake-selinux.h"

#define CIPHER "org.hmsg.Agent1.Cipher"

static Confinement *new_confinement(int enforcing, const char *missing, const char *allowed)
{
    Confinement *c = NULL;

    fake_selinux =
        (FakeSelinux){.enabled = 1, .enforcing = enforcing, .missing = missing, .allowed = allowed};
    g_assert_cmpint(confinement_new(&c), ==, 0);
    g_assert_nonnull(c);
    return c;
}

static void test_off(void)
{
    Confinement *c = NULL;

    fake_selinux.enabled = 0;
    g_assert_cmpint(confinement_new(&c), ==, 0);
    g_assert_null(c);
    g_assert_cmpint(confinement_check(c, NULL, "decrypt"), ==, 0);
}

static void test_permissions(void)
{
    _cleanup_(confinement_freep) Confinement *c = new_confinement(1, NULL, "encrypt");

    g_assert_true(confinement_complete());
    g_assert_cmpint(confinement_check(c, FAKE_CALLER, "encrypt"), ==, 0);
    g_assert_cmpint(confinement_check(c, FAKE_CALLER, "decrypt"), ==, -EACCES);
    g_assert_cmpint(confinement_check(c, FAKE_CALLER, "sign"), ==, -EACCES);
    g_assert_cmpint(confinement_check(c, FAKE_CALLER, "manage"), ==, -EACCES);
    g_assert_cmpuint(fake_selinux.asked, ==, 4);
}

/* libselinux would allow what the policy does not know. */
static void test_missing(void)
{
    static const char *const missing[] = {"hmsg", "encrypt", "decrypt", "sign", "manage"};

    for (size_t i = 0; i < G_N_ELEMENTS(missing); i++) {
        _cleanup_(confinement_freep) Confinement *c = new_confinement(1, missing[i], "encrypt");

        g_assert_false(confinement_complete());
        g_assert_cmpint(confinement_check(c, FAKE_CALLER, "encrypt"), ==, -EACCES);
        fake_selinux.enforcing = 0;
        g_assert_cmpint(confinement_check(c, FAKE_CALLER, "encrypt"), ==, 0);
        fake_selinux.enforcing = -1; /* it cannot be told */
        g_assert_cmpint(confinement_check(c, FAKE_CALLER, "encrypt"), ==, -EACCES);
        g_assert_cmpuint(fake_selinux.asked, ==, 0);
    }
}

static void test_reloaded(void)
{
    _cleanup_(confinement_freep) Confinement *c = new_confinement(1, NULL, "encrypt");

    fake_selinux.reloaded = true;
    g_assert_cmpint(confinement_check(c, FAKE_CALLER, "encrypt"), ==, -EACCES);
    g_assert_cmpuint(fake_selinux.asked, ==, 1);
    fake_selinux.missing = NULL; /* and it comes back */
    fake_selinux.reloaded = false;
    g_assert_cmpint(confinement_check(c, FAKE_CALLER, "encrypt"), ==, 0);
}

static void test_no_context(void)
{
    _cleanup_(confinement_freep) Confinement *c = new_confinement(1, NULL, "encrypt");

    g_assert_cmpint(confinement_check(c, NULL, "encrypt"), ==, -EACCES);
}

/* What is not known needs the most. */
static void test_table(void)
{
    g_assert_cmpstr(confinement_permission(CIPHER, "DecryptFd"), ==, "decrypt");
    g_assert_cmpstr(confinement_permission("org.hmsg.Agent1.Mail", "ReadFd"), ==, "decrypt");
    g_assert_cmpstr(confinement_permission("org.hmsg.Agent1.Mail", "Copy"), ==, "decrypt");
    g_assert_cmpstr(confinement_permission("org.hmsg.Agent1.Mail", "ReadCopy"), ==, "decrypt");
    g_assert_cmpstr(confinement_permission("org.hmsg.Agent1.Mail", "SendFd"), ==, "sign");
    g_assert_cmpstr(confinement_permission("org.hmsg.Agent1.Mail", "Register"), ==, "manage");
    g_assert_cmpstr(confinement_permission("org.hmsg.Agent1", "OpenChannel"), ==, "encrypt");
    g_assert_cmpstr(confinement_permission(CIPHER, "EncryptFd"), ==, "encrypt");
    g_assert_cmpstr(confinement_permission("org.hmsg.Agent1.Identity", "ExportPublic"), ==, "sign");
    g_assert_cmpstr(confinement_permission(CIPHER, "New"), ==, "manage");
    g_assert_cmpstr(confinement_permission(NULL, "Decrypt"), ==, "manage");
    g_assert_cmpstr(confinement_permission("org.example", "Encrypt"), ==, "manage");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/agent/confinement/off", test_off);
    g_test_add_func("/agent/confinement/permissions", test_permissions);
    g_test_add_func("/agent/confinement/missing", test_missing);
    g_test_add_func("/agent/confinement/reloaded", test_reloaded);
    g_test_add_func("/agent/confinement/no-context", test_no_context);
    g_test_add_func("/agent/confinement/table", test_table);
    return g_test_run();
}
