/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/confinement.h"

#include <errno.h>
#include <selinux/selinux.h>
#include <stdlib.h>
#include <string.h>

#include "agent/manager.h"

#define CLASS "hmsg"

struct Confinement {
    char *own; /* the agent's context: what calls are made to */
};

bool confinement_complete(void)
{
    static const char *const permissions[] = {"encrypt", "decrypt", "sign", "manage"};
    security_class_t class = string_to_security_class(CLASS);

    if (class == 0)
        return false;
    for (size_t i = 0; i < ELEMENTSOF(permissions); i++)
        if (string_to_av_perm(class, permissions[i]) == 0)
            return false;
    return true;
}

int confinement_new(Confinement **ret)
{
    _cleanup_(confinement_freep) Confinement *c = NULL;

    if (is_selinux_enabled() <= 0) {
        *ret = NULL;
        return 0;
    }
    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    if (getcon(&c->own) < 0 || !c->own)
        return -EINVAL;
    *ret = TAKE_PTR(c);
    return 0;
}

Confinement *confinement_free(Confinement *c)
{
    if (!c)
        return NULL;
    freecon(c->own);
    free(c);
    return NULL;
}

const char *confinement_permission(const char *interface, const char *member)
{
    static const struct {
        const char *interface, *member, *permission; /* member NULL: all of the interface */
    } needs[] = {
        {"org.freedesktop.DBus.Introspectable", NULL, "encrypt"},
        {"org.freedesktop.DBus.Peer", NULL, "encrypt"},
        {"org.freedesktop.DBus.Properties", NULL, "encrypt"},
        {AGENT_INTERFACE, NULL, "encrypt"},
        {AGENT_CIPHER_INTERFACE, "Encrypt", "encrypt"},
        {AGENT_CIPHER_INTERFACE, "EncryptFd", "encrypt"},
        {AGENT_CIPHER_INTERFACE, "Convert", "encrypt"},
        {AGENT_CIPHER_INTERFACE, "Decrypt", "decrypt"},
        {AGENT_CIPHER_INTERFACE, "DecryptFd", "decrypt"},
        {AGENT_IDENTITY_INTERFACE, "Show", "encrypt"},
        {AGENT_IDENTITY_INTERFACE, "ExportPublic", "sign"},
        {AGENT_IDENTITY_INTERFACE, "Lock", "encrypt"},
        {AGENT_CONTACTS_INTERFACE, "Lookup", "encrypt"},
        {AGENT_CONTACTS_INTERFACE, "List", "encrypt"},
        {AGENT_MAIL_INTERFACE, "Registrations", "encrypt"},
        {AGENT_MAIL_INTERFACE, "Send", "sign"},
        {AGENT_MAIL_INTERFACE, "SendFd", "sign"},
        {AGENT_MAIL_INTERFACE, "Retry", "sign"},
        {AGENT_MAIL_INTERFACE, "Cancel", "sign"},
        {AGENT_MAIL_INTERFACE, "Sync", "decrypt"},
        {AGENT_MAIL_INTERFACE, "List", "decrypt"},
        {AGENT_MAIL_INTERFACE, "Read", "decrypt"},
        {AGENT_MAIL_INTERFACE, "ReadFd", "decrypt"},
        {AGENT_MAIL_INTERFACE, "Copy", "decrypt"},
        {AGENT_MAIL_INTERFACE, "ReadCopy", "decrypt"},
    };

    for (size_t i = 0; interface && member && i < ELEMENTSOF(needs); i++)
        if (strcmp(interface, needs[i].interface) == 0 &&
            (!needs[i].member || strcmp(member, needs[i].member) == 0))
            return needs[i].permission;
    return "manage";
}

int confinement_check(const Confinement *c, const char *context, const char *permission)
{
    bool allowed, complete;

    if (!c)
        return 0;
    complete = context && confinement_complete();
    allowed = complete && selinux_check_access(context, c->own, CLASS, permission, NULL) == 0;
    /* another policy may have come meanwhile, and what it does not know would have been allowed */
    if (complete && confinement_complete())
        return allowed ? 0 : -EACCES;
    return security_getenforce() == 0 ? 0 : -EACCES;
}
