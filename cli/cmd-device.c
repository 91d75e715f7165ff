/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/json-util.h"

static const RenderField columns[] = {
    {"address", "ADDRESS", RENDER_TEXT},
    {"agrees", "AGREES", RENDER_BOOL},
    {"added", "ADDED", RENDER_TIME},
    {"kid", "KEY", RENDER_TEXT},
};

/* As the relay has it now. */
static int look_up(Ctl *ctl, const char *address, json_t **ret)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    int r = ctl_call_new(ctl, "Contacts", "Lookup", &call);

    if (r != 0)
        return r;
    hmsg_call_string(call, address);
    r = ctl_call_run(ctl, call, &reply);
    return r == 0 ? ctl_facts(ctl, reply, ret) : r;
}

/* Whether the device with this key names this identity as well, as far as the agent knows. */
static int names_us(Ctl *ctl, const char *kid, bool *ret)
{
    _cleanup_(json_unrefp) json_t *all = NULL;
    int r = ctl_simple(ctl, &all, "Identity", "ListDevices", NULL);

    *ret = false;
    for (size_t i = 0; r == 0 && i < json_array_size(all); i++) {
        const json_t *device = json_array_get(all, i);
        const char *known = json_string_value(json_object_get(device, "kid"));

        if (known && kid && strcmp(known, kid) == 0)
            *ret = json_is_true(json_object_get(device, "agrees"));
    }
    return r;
}

static int add(Ctl *ctl, const char *address, const char *told)
{
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(json_unrefp) json_t *contact = NULL;
    const char *fingerprint;
    bool agrees;
    int r;

    r = look_up(ctl, address, &contact);
    if (r != 0)
        return r;
    fingerprint = json_string_value(json_object_get(contact, "fingerprint"));
    if (!fingerprint)
        return ctl_fail(ctl, HMSG_ERROR_NOT_FOUND, "There is no fingerprint of %s", address);
    r = contact_compare(ctl, fingerprint, told, "Does hmsgctl identity show say the same on that device?");
    if (r == 0)
        r = ctl_call_new(ctl, "Identity", "AddDevice", &call);
    if (r != 0)
        return r;
    hmsg_call_string(call, address);
    hmsg_call_option_string(call, "fingerprint", fingerprint);
    r = ctl_call_run(ctl, call, NULL);
    if (r == 0)
        r = names_us(ctl, json_string_value(json_object_get(contact, "kid")), &agrees);
    if (r != 0)
        return r;
    ctl_note("%s", agrees ? "Each of the two names the other now."
                          : "Now add this one on the other device: it counts when each names the other.");
    return ctl_print_nothing(ctl);
}

/* Asks the relays for what they have now; what they do not answer stays as it is known. */
static void look_up_all(Ctl *ctl, const json_t *all)
{
    for (size_t i = 0; i < json_array_size(all); i++) {
        const char *address = json_string_value(json_object_get(json_array_get(all, i), "address"));
        _cleanup_(json_unrefp) json_t *contact = NULL;

        if (address && look_up(ctl, address, &contact) != 0)
            ctl_note("%s: %s", address, ctl->detail ? ctl->detail : "could not be looked up");
    }
}

static int list(Ctl *ctl)
{
    _cleanup_(json_unrefp) json_t *all = NULL;
    int r = ctl_simple(ctl, &all, "Identity", "ListDevices", NULL);

    if (r == 0 && ctl_given(ctl, OPTION_SYNC)) {
        look_up_all(ctl, all);
        json_decref(all);
        all = NULL;
        r = ctl_simple(ctl, &all, "Identity", "ListDevices", NULL);
    }
    return r == 0 ? ctl_print_table(ctl, all, columns, ELEMENTSOF(columns), "There are no other devices.")
                  : r;
}

static int take_away(Ctl *ctl, const char *address)
{
    int r = ctl_simple(ctl, NULL, "Identity", "RemoveDevice", address);

    return r == 0 ? ctl_print_nothing(ctl) : r;
}

int cmd_identity_device(Ctl *ctl)
{
    const char *what = ctl_operand(ctl, 0), *address = ctl_operand(ctl, 1), *told = ctl_operand(ctl, 2);
    bool adds = strcmp(what, "add") == 0, lists = strcmp(what, "list") == 0;
    const char *extra = lists ? address : adds ? NULL : told;

    if (!adds && !lists && strcmp(what, "remove") != 0)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "A device is to add, list or remove, not \"%s\"", what);
    if (extra)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "one word too many: \"%s\"", extra);
    if (lists)
        return list(ctl);
    if (!address)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "ADDRESS is missing");
    return adds ? add(ctl, address, told) : take_away(ctl, address);
}
