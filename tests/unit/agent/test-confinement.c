/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/confinement.h"

#include <errno.h>
#include <glib.h>
#include <selinux/selinux.h>
#include <string.h>

#define CIPHER "org.hmsg.Agent1.Cipher"
#define OWN "user_u:user_r:hmsg_agent_t:s0"
#define CALLER "user_u:user_r:user_t:s0"

/* The kernel and its policy, as this test wants them: these stand before those of libselinux. */
static struct {
    int enabled, enforcing;
    const char *missing; /* a permission; "hmsg": the class */
    const char *allowed; /* the one permission that CALLER has */
    unsigned asked;
    bool reloaded; /* while it is asked, for a policy without the class */
} kernel;

int is_selinux_enabled(void)
{
    return kernel.enabled;
}

int getcon(char **ret)
{
    *ret = strdup(OWN);
    return 0;
}

void freecon(char *context)
{
    free(context);
}

int security_getenforce(void)
{
    return kernel.enforcing;
}

security_class_t string_to_security_class(const char *name)
{
    g_assert_cmpstr(name, ==, "hmsg");
    return g_strcmp0(kernel.missing, name) == 0 ? 0 : 1;
}

access_vector_t string_to_av_perm(security_class_t class, const char *name)
{
    return g_strcmp0(kernel.missing, name) == 0 ? 0 : 1;
}

int selinux_check_access(const char *from, const char *to, const char *class, const char *permission,
                         void *data)
{
    g_assert_cmpstr(from, ==, CALLER);
    g_assert_cmpstr(to, ==, OWN);
    g_assert_cmpstr(class, ==, "hmsg");
    kernel.asked++;
    if (kernel.reloaded)
        kernel.missing = "hmsg";
    return g_strcmp0(kernel.allowed, permission) == 0 ? 0 : -1;
}

static Confinement *new_confinement(int enforcing, const char *missing, const char *allowed)
{
    Confinement *c = NULL;

    kernel.enabled = 1;
    kernel.enforcing = enforcing;
    kernel.missing = missing;
    kernel.allowed = allowed;
    kernel.asked = 0;
    kernel.reloaded = false;
    g_assert_cmpint(confinement_new(&c), ==, 0);
    g_assert_nonnull(c);
    return c;
}

static void test_off(void)
{
    Confinement *c = NULL;

    kernel.enabled = 0;
    g_assert_cmpint(confinement_new(&c), ==, 0);
    g_assert_null(c);
    g_assert_cmpint(confinement_check(c, NULL, "decrypt"), ==, 0);
}

static void test_permissions(void)
{
    _cleanup_(confinement_freep) Confinement *c = new_confinement(1, NULL, "encrypt");

    g_assert_true(confinement_complete());
    g_assert_cmpint(confinement_check(c, CALLER, "encrypt"), ==, 0);
    g_assert_cmpint(confinement_check(c, CALLER, "decrypt"), ==, -EACCES);
    g_assert_cmpint(confinement_check(c, CALLER, "sign"), ==, -EACCES);
    g_assert_cmpint(confinement_check(c, CALLER, "manage"), ==, -EACCES);
    g_assert_cmpuint(kernel.asked, ==, 4);
}

/* libselinux would allow what the policy does not know. */
static void test_missing(void)
{
    static const char *const missing[] = {"hmsg", "encrypt", "decrypt", "sign", "manage"};

    for (size_t i = 0; i < G_N_ELEMENTS(missing); i++) {
        _cleanup_(confinement_freep) Confinement *c = new_confinement(1, missing[i], "encrypt");

        g_assert_false(confinement_complete());
        g_assert_cmpint(confinement_check(c, CALLER, "encrypt"), ==, -EACCES);
        kernel.enforcing = 0;
        g_assert_cmpint(confinement_check(c, CALLER, "encrypt"), ==, 0);
        kernel.enforcing = -1; /* it cannot be told */
        g_assert_cmpint(confinement_check(c, CALLER, "encrypt"), ==, -EACCES);
        g_assert_cmpuint(kernel.asked, ==, 0);
    }
}

static void test_reloaded(void)
{
    _cleanup_(confinement_freep) Confinement *c = new_confinement(1, NULL, "encrypt");

    kernel.reloaded = true;
    g_assert_cmpint(confinement_check(c, CALLER, "encrypt"), ==, -EACCES);
    g_assert_cmpuint(kernel.asked, ==, 1);
    kernel.missing = NULL; /* and it comes back */
    kernel.reloaded = false;
    g_assert_cmpint(confinement_check(c, CALLER, "encrypt"), ==, 0);
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
