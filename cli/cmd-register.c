/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "cli/cmd.h"
#include "cli/facts.h"
#include "cli/json-util.h"
#include "cli/pin.h"

static const char *const names[] = {"address", "relay", "state"};
static const RenderField columns[] = {
    {"address", "ADDRESS", RENDER_TEXT},
    {"relay", "RELAY", RENDER_TEXT},
    {"state", "STATE", RENDER_TEXT},
};
static const RenderField fields[] = {
    {"address", "Address", RENDER_TEXT},
    {"relay", "Relay", RENDER_TEXT},
};

static int list(Ctl *ctl)
{
    _cleanup_(json_unrefp) json_t *rows = NULL, *registrations = NULL;
    int r;

    r = ctl_simple(ctl, &rows, "Mail", "Registrations", NULL);
    if (r == 0)
        r = facts_name(rows, names, ELEMENTSOF(names), &registrations);
    return r == 0
               ? ctl_print_table(ctl, registrations, columns, ELEMENTSOF(columns), "Registered nowhere yet.")
               : r;
}

/* The code that the relay's operator has given out, if there is one. */
static int get_invite(Ctl *ctl, int *ret_fd)
{
    if (!ctl_given(ctl, OPTION_INVITE) && !ctl_given(ctl, OPTION_INVITE_FD))
        return 0;
    return pin_get(ctl, OPTION_INVITE_FD, "Code of the invitation: ", false, ret_fd);
}

static int enter(Ctl *ctl, const char *address)
{
    _cleanup_(pin_done) int invite = -1;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(json_unrefp) json_t *result = NULL;
    int r;

    r = get_invite(ctl, &invite);
    if (r == 0)
        r = ctl_call_new(ctl, "Mail", "Register", &call);
    if (r != 0)
        return r;
    hmsg_call_string(call, address);
    hmsg_call_option_fd(call, "invite_fd", invite);
    if (ctl_given(ctl, OPTION_TRUST_RELAY))
        hmsg_call_option_bool(call, "trust_relay", true);
    r = ctl_call_run(ctl, call, &reply);
    if (r == 0)
        r = ctl_facts(ctl, reply, &result);
    if (r == 0 && ctl_given(ctl, OPTION_TRUST_RELAY))
        ctl_note(
            "The relay's key is trusted from now on; compare the part after # with what its operator says.");
    return r == 0 ? ctl_print_record(ctl, result, fields, ELEMENTSOF(fields)) : r;
}

int cmd_register(Ctl *ctl)
{
    const char *address = ctl_operand(ctl, 0);
    bool lists = ctl_given(ctl, OPTION_LIST), removes = ctl_given(ctl, OPTION_REMOVE);
    int r;

    if (lists && (removes || address))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "--list takes nothing else");
    if (lists)
        return list(ctl);
    if (!address)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "ADDRESS is missing");
    if (!removes)
        return enter(ctl, address);
    r = ctl_simple(ctl, NULL, "Mail", "Unregister", address);
    if (r == HMSG_ERROR_NOT_FOUND)
        return ctl_hint(ctl, ctl_fail(ctl, r, "%s is no address of yours", address),
                        "See: hmsgctl register --list.");
    return r == 0 ? ctl_print_nothing(ctl) : r;
}
