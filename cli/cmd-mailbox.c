/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/json-util.h"

#define LIFETIME_MIN 3600u
#define LIFETIME_MAX (30u * 86400u)

static const RenderField fields[] = {{"lifetime", "Lifetime (seconds)", RENDER_NUMBER}};

static int show(Ctl *ctl, const char *address)
{
    _cleanup_(json_unrefp) json_t *lifetime = NULL;
    int r = ctl_simple(ctl, &lifetime, "Mail", "Lifetime", address);

    if (r != 0)
        return r;
    if (!ctl_given(ctl, OPTION_JSON) && json_integer_value(json_object_get(lifetime, "lifetime")) == 0)
        return ctl_print_text(ctl, "Messages wait as long as the relay lets them.\n");
    return ctl_print_record(ctl, lifetime, fields, ELEMENTSOF(fields));
}

static int set(Ctl *ctl, const char *time, const char *address)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    uint64_t seconds = 0;
    bool relays = strcmp(time, "default") == 0;
    int r;

    if (!relays && (option_seconds(time, LIFETIME_MAX, &seconds) != 0 || seconds < LIFETIME_MIN))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS,
                        "A lifetime is a time such as 12h or 7d, from 1h to 30d, or \"default\"");
    r = ctl_call_new(ctl, "Mail", "SetLifetime", &call);
    if (r != 0)
        return r;
    hmsg_call_string(call, address);
    hmsg_call_option_number(call, "seconds", seconds);
    r = ctl_call_run(ctl, call, &reply);
    return r == 0 ? ctl_print_nothing(ctl) : r;
}

/* An address has an @, a time has none. */
int cmd_mailbox_lifetime(Ctl *ctl)
{
    const char *first = ctl_operand(ctl, 0), *second = ctl_operand(ctl, 1);

    if (first && !strchr(first, '@'))
        return set(ctl, first, second ? second : "");
    if (second)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "The time comes first, then the address");
    return show(ctl, first ? first : "");
}
