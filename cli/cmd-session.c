/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/json-util.h"
#include "cli/pin.h"

static const RenderField fields[] = {
    {"id", "ID", RENDER_TEXT},          {"direction", "DIRECTION", RENDER_TEXT},
    {"peer", "PEER", RENDER_TEXT},      {"created", "CREATED", RENDER_TIME},
    {"last_used", "USED", RENDER_TIME}, {"uses", "USES", RENDER_NUMBER},
    {"tier", "TIER", RENDER_TEXT},
};

int cmd_session_list(Ctl *ctl)
{
    _cleanup_(json_unrefp) json_t *sessions = NULL;
    int r = ctl_simple(ctl, &sessions, "Sessions", "List", NULL);

    return r == 0 ? ctl_print_table(ctl, sessions, fields, ELEMENTSOF(fields), "There are no session keys.")
                  : r;
}

static int print_count(Ctl *ctl, json_t *count)
{
    _cleanup_(json_unrefp) json_t *facts = json_pack("{s:O}", "count", count);
    _cleanup_(buf_done) Buf text = BUF_MAX(RENDER_SIZE_MAX);
    int r;

    if (!facts)
        return -ENOMEM;
    if (ctl_given(ctl, OPTION_JSON))
        return ctl_print_json(ctl, facts);
    r = buf_printf(&text, "%" JSON_INTEGER_FORMAT " forgotten\n", json_integer_value(count));
    return r < 0 ? r : ctl_print_text(ctl, buf_text(&text));
}

int cmd_session_flush(Ctl *ctl)
{
    const char *direction = ctl->options.values[OPTION_DIRECTION];
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(json_unrefp) json_t *count = NULL;
    int r;

    if (direction && strcmp(direction, "in") != 0 && strcmp(direction, "out") != 0)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "A direction is in or out, not \"%s\"", direction);
    r = ctl_call_new(ctl, "Sessions", "Flush", &call);
    if (r != 0)
        return r;
    hmsg_call_option_string(call, "direction", direction);
    hmsg_call_option_string(call, "id", ctl_operand(ctl, 0));
    r = ctl_call_run(ctl, call, &reply);
    if (r == 0)
        r = ctl_facts(ctl, reply, &count);
    return r == 0 ? print_count(ctl, count) : r;
}

int cmd_lock(Ctl *ctl)
{
    int r = ctl_simple(ctl, NULL, "Identity", "Lock", NULL);

    return r == 0 ? ctl_print_nothing(ctl) : r;
}

/* Nobody is asked for what is not needed. */
static int needs_pin(Ctl *ctl, bool *ret)
{
    _cleanup_(json_unrefp) json_t *identity = NULL;
    int r = ctl_simple(ctl, &identity, "Identity", "Show", NULL);
    const char *state = json_string_value(json_object_get(identity, "state"));

    if (r == 0)
        *ret = json_is_true(json_object_get(identity, "pin")) && state && strcmp(state, "locked") == 0;
    return r;
}

static int unlock(Ctl *ctl, int pin)
{
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    int r = ctl_call_new(ctl, "Identity", "Unlock", &call);

    if (r != 0)
        return r;
    hmsg_call_option_fd(call, "pin", pin);
    if (ctl_given(ctl, OPTION_FORCE))
        hmsg_call_option_bool(call, "force", true);
    return ctl_call_run(ctl, call, NULL);
}

/* Where the agent's pinentry can ask. */
static bool has_screen(const Ctl *ctl)
{
    return !ctl_given(ctl, OPTION_NO_ASK) && (getenv("WAYLAND_DISPLAY") || getenv("DISPLAY"));
}

int cmd_unlock(Ctl *ctl)
{
    _cleanup_(pin_done) int pin = -1;
    bool needed = ctl_given(ctl, OPTION_PIN_FD);
    int r = needed ? 0 : needs_pin(ctl, &needed);

    if (r == 0 && needed && !ctl_given(ctl, OPTION_PIN_FD) && has_screen(ctl)) {
        r = unlock(ctl, -1);
        needed = r == HMSG_ERROR_LOCKED && pin_can_ask(); /* then on the terminal */
        if (!needed)
            return r == 0 ? ctl_print_nothing(ctl) : r;
        r = 0;
    }
    if (r == 0 && needed)
        r = pin_get(ctl, OPTION_PIN_FD, "PIN: ", false, &pin);
    if (r == 0)
        r = unlock(ctl, pin);
    return r == 0 ? ctl_print_nothing(ctl) : r;
}
