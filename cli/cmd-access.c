/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/cmd.h"
#include "cli/json-util.h"

static const RenderField rule_fields[] = {
    {"app", "PROGRAM", RENDER_TEXT},
    {"permission", "MAY", RENDER_TEXT},
    {"verdict", "RULE", RENDER_TEXT},
    {"since", "SINCE", RENDER_TIME},
};

static const RenderField use_fields[] = {
    {"last", "LAST", RENDER_TIME},       {"app", "PROGRAM", RENDER_TEXT},
    {"program", "NAME", RENDER_TEXT},    {"permission", "WANTED", RENDER_TEXT},
    {"allowed", "ALLOWED", RENDER_BOOL}, {"uses", "TIMES", RENDER_NUMBER},
};

int cmd_access_list(Ctl *ctl)
{
    _cleanup_(json_unrefp) json_t *rules = NULL;
    int r = ctl_simple(ctl, &rules, "Access", "List", NULL);

    return r == 0 ? ctl_print_table(ctl, rules, rule_fields, ELEMENTSOF(rule_fields), "There are no rules.")
                  : r;
}

int cmd_access_log(Ctl *ctl)
{
    _cleanup_(json_unrefp) json_t *uses = NULL;
    int r = ctl_simple(ctl, &uses, "Access", "Log", NULL);

    return r == 0 ? ctl_print_table(ctl, uses, use_fields, ELEMENTSOF(use_fields), "Nothing was used yet.")
                  : r;
}

/* verdict NULL: the rule is taken away. */
static int change(Ctl *ctl, const char *verdict)
{
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    int r = ctl_call_new(ctl, "Access", verdict ? "Set" : "Revoke", &call);

    if (r != 0)
        return r;
    hmsg_call_string(call, ctl_operand(ctl, 0));
    if (verdict)
        hmsg_call_string(call, verdict);
    hmsg_call_option_string(call, "permission", ctl_operand(ctl, 1));
    r = ctl_call_run(ctl, call, NULL);
    return r == 0 ? ctl_print_nothing(ctl) : r;
}

int cmd_access_allow(Ctl *ctl)
{
    return change(ctl, "allow");
}

int cmd_access_ask(Ctl *ctl)
{
    return change(ctl, "ask");
}

int cmd_access_deny(Ctl *ctl)
{
    return change(ctl, "deny");
}

int cmd_access_revoke(Ctl *ctl)
{
    return change(ctl, NULL);
}
