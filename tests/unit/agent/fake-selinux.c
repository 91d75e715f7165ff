/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/agent/fake-selinux.h"

#include <errno.h>
#include <glib.h>
#include <selinux/selinux.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

FakeSelinux fake_selinux;

int is_selinux_enabled(void)
{
    return fake_selinux.enabled;
}

int getcon(char **ret)
{
    *ret = strdup(FAKE_OWN);
    return 0;
}

void freecon(char *context)
{
    free(context);
}

int security_getenforce(void)
{
    return fake_selinux.enforcing;
}

security_class_t string_to_security_class(const char *name)
{
    g_assert_cmpstr(name, ==, "hmsg");
    return g_strcmp0(fake_selinux.missing, name) == 0 ? 0 : 1;
}

access_vector_t string_to_av_perm(security_class_t class, const char *name)
{
    return g_strcmp0(fake_selinux.missing, name) == 0 ? 0 : 1;
}

int selinux_check_access(const char *from, const char *to, const char *class, const char *permission,
                         void *data)
{
    g_auto(GStrv) allowed = g_strsplit(fake_selinux.allowed, " ", -1);

    g_assert_cmpstr(from, ==, FAKE_CALLER);
    g_assert_cmpstr(to, ==, FAKE_OWN);
    g_assert_cmpstr(class, ==, "hmsg");
    fake_selinux.asked++;
    if (fake_selinux.reloaded)
        fake_selinux.missing = "hmsg";
    return g_strv_contains((const char *const *)allowed, permission) ? 0 : -1;
}

int sd_bus_creds_get_selinux_context(sd_bus_creds *c, const char **ret)
{
    if (fake_selinux.bus_is_blind)
        return -ENODATA;
    *ret = FAKE_CALLER;
    return 0;
}
