/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/hint.h"

#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/macro.h"

#define RELAY_HINT                                                                                           \
    "Give the address with the relay's pin, as its operator or your contact gives it out, and quote it: "    \
    "'name@host#PIN'. Or accept its key as it is now with --trust-relay. If a contact's key has changed, "   \
    "compare fingerprints and run: hmsgctl contact verify CONTACT."

static const struct {
    const char *command; /* NULL: any other */
    int error;
    const char *text;
} hints[] = {
    {"decrypt", HMSG_ERROR_UNTRUSTED,
     "Add the sender with: hmsgctl contact add ADDRESS. Or open it all the same with --allow-unknown."},
    {"read", HMSG_ERROR_UNTRUSTED,
     "Add the sender with: hmsgctl contact add ADDRESS. Or open it all the same with --allow-unknown."},
    {"decrypt", HMSG_ERROR_AUTHENTICATION_FAILED, "It was damaged or changed on its way, or is a forgery."},
    {"read", HMSG_ERROR_AUTHENTICATION_FAILED, "It was damaged or changed on its way, or is a forgery."},
    {"convert", HMSG_ERROR_BAD_PACKAGE,
     "One package can be converted, or the JWE of one: no stream, no seed form, not several at once."},
    {"encrypt", HMSG_ERROR_UNTRUSTED,
     "If the contact's key has changed, compare fingerprints and run: hmsgctl contact verify CONTACT. If its "
     "relay "
     "is not known, run: hmsgctl contact add 'name@host#PIN'. A certificate must be valid and for "
     "encryption."},
    {"encrypt", HMSG_ERROR_NOT_FOUND, "Check the address, or see: hmsgctl contact list."},
    {"encrypt", HMSG_ERROR_TOO_LARGE, "Only the stream format takes more than 1 MiB: leave --format away."},
    {"send", HMSG_ERROR_NOT_FOUND, "Check the address, or see: hmsgctl contact list."},
    {"contact", HMSG_ERROR_NOT_FOUND, "Check the name or address, or see: hmsgctl contact list."},
    {"read", HMSG_ERROR_NOT_FOUND, "See: hmsgctl inbox."},
    {"delete", HMSG_ERROR_NOT_FOUND, "See: hmsgctl inbox, hmsgctl outbox."},
    {"outbox", HMSG_ERROR_NOT_FOUND, "See: hmsgctl outbox."},
    {"session", HMSG_ERROR_NOT_FOUND, "See: hmsgctl session list."},
    {"register", HMSG_ERROR_INVALID_ARGS, "An address is name@host[:port][#PIN]; quote it, for the shell."},
    {"register", HMSG_ERROR_ALREADY_EXISTS, "The name is somebody else's there: choose another."},
    {"identity", HMSG_ERROR_ALREADY_EXISTS, "See: hmsgctl identity show."},
    {"identity", HMSG_ERROR_LOCKED, "A TPM counts wrong PINs; hmsgctl doctor shows how many it takes."},
    {"unlock", HMSG_ERROR_LOCKED, "A TPM counts wrong PINs; hmsgctl doctor shows how many it takes."},
    {"unlock", HMSG_ERROR_TPM_LOCKED_OUT,
     "Wait as long as it says. Where a TPM counts, hmsgctl unlock --force tries the last one all the same."},
    {NULL, HMSG_ERROR_NO_IDENTITY, "Make one with: hmsgctl identity create."},
    {NULL, HMSG_ERROR_LOCKED, "Unlock with: hmsgctl unlock."},
    {NULL, HMSG_ERROR_BAD_PACKAGE, "It is damaged, cut off, or nothing that hmsg made."},
    {NULL, HMSG_ERROR_NOT_FOR_US, "Your own key is shown by: hmsgctl identity show."},
    {NULL, HMSG_ERROR_UNTRUSTED, RELAY_HINT},
    {NULL, HMSG_ERROR_TPM_UNAVAILABLE,
     "Find out why with: hmsgctl doctor. When it is mended, hmsgctl unlock tries it at once."},
    {NULL, HMSG_ERROR_TPM_LOCKED_OUT, "Wait until the TPM recovers; hmsgctl doctor tells how long."},
    {NULL, HMSG_ERROR_RELAY_UNAVAILABLE,
     "Check the network and the relay's address, and try again; see: hmsgctl status."},
    {NULL, HMSG_ERROR_STORAGE_FULL, "Make room, for instance with: hmsgctl delete ID."},
    {NULL, HMSG_ERROR_INVALID_ARGS, "See: hmsgctl help."},
};

const char *hint_for(const Command *command, int r)
{
    for (size_t i = 0; i < ELEMENTSOF(hints); i++)
        if (hints[i].error == r &&
            (!hints[i].command || (command && strcmp(hints[i].command, command->name) == 0)))
            return hints[i].text;
    return NULL;
}
