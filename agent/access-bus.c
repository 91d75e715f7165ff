/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/bus-util.h"
#include "agent/gate.h"
#include "agent/rules.h"
#include "agent/vtables.h"
#include "libhmsg/base/error.h"

#define LOG_LENGTH 100u /* entries, where the caller does not say how many */

static int append_rule(const Rule *rule, void *userdata)
{
    int r = sd_bus_message_append(userdata, "a{sv}", 4, "app", "s", rule->app, "permission", "s",
                                  rule->permission, "verdict", "s", verdict_name(rule->verdict), "since", "t",
                                  (uint64_t)rule->since);

    return r < 0 ? r : 0;
}

static int append_use(const Use *u, void *userdata)
{
    int r = sd_bus_message_append(userdata, "a{sv}", 7, "app", "s", u->app, "program", "s", u->program,
                                  "permission", "s", u->permission, "allowed", "b", (int)u->allowed, "first",
                                  "t", (uint64_t)u->first, "last", "t", (uint64_t)u->last, "uses", "t", u->n);

    return r < 0 ? r : 0;
}

typedef int (*fill_t)(Rules *rules, unsigned max, sd_bus_message *reply);

static int fill_rules(Rules *rules, unsigned max, sd_bus_message *reply)
{
    return rules_each(rules, append_rule, reply);
}

static int fill_uses(Rules *rules, unsigned max, sd_bus_message *reply)
{
    return rules_each_use(rules, max, append_use, reply);
}

static int reply_list(sd_bus_message *message, Rules *rules, unsigned max, fill_t fill, sd_bus_error *error)
{
    sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_message_new_method_return(message, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "a{sv}");
    if (r >= 0)
        r = fill(rules, max, reply);
    if (r == 0)
        r = sd_bus_message_close_container(reply);
    if (r == 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r > 0 ? bus_fail(error, r, NULL) : r;
}

static int method_list(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    int r = bus_read_no_options(message, error);

    return r == 0 ? reply_list(message, m->rules, 0, fill_rules, error) : bus_fail(error, r, NULL);
}

static int method_log(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption options[] = {{"max", 'u', 0}};
    Manager *m = userdata;
    uint32_t max = LOG_LENGTH;
    int r = bus_read_options(message, options, ELEMENTSOF(options), &max, error);

    return r == 0 ? reply_list(message, m->rules, max, fill_uses, error) : bus_fail(error, r, NULL);
}

/* One permission, or both without the option. */
static int set(Manager *m, const char *app, const char *permission, Verdict verdict)
{
    static const char *const permissions[] = {"decrypt", "sign"};
    unsigned n_missing = 0, n = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < ELEMENTSOF(permissions); i++) {
        if (permission && i > 0)
            break;
        r = rules_set(m->rules, app, permission ? permission : permissions[i], verdict);
        n++;
        if (r == HMSG_ERROR_NOT_FOUND) {
            n_missing++;
            r = 0;
        }
    }
    gate_forget(m->gate, app);
    return r == 0 && n == n_missing ? HMSG_ERROR_NOT_FOUND : r;
}

static int change(sd_bus_message *message, Manager *m, bool with_verdict, sd_bus_error *error)
{
    static const BusOption options[] = {{"permission", 's', 0}};
    const char *app, *text, *permission = NULL;
    Verdict verdict = VERDICT_NONE;
    int r;

    r = sd_bus_message_read_basic(message, 's', &app);
    if (r >= 0 && with_verdict) {
        r = sd_bus_message_read_basic(message, 's', &text);
        r = r < 0 ? r : verdict_parse(text, &verdict);
    }
    if (r < 0)
        return r;
    if (r == 0 || !with_verdict)
        r = bus_read_options(message, options, ELEMENTSOF(options), &permission, error);
    if (r == 0)
        r = set(m, app, permission, verdict);
    if (r == HMSG_ERROR_NOT_FOUND)
        return bus_fail(error, r, "There is no such rule");
    if (r == HMSG_ERROR_INVALID_ARGS)
        return bus_fail(error, r,
                        "A program is host, unknown, selinux:TYPE, snap:NAME or flatpak:ID, a permission "
                        "decrypt or sign");
    return r == 0 ? sd_bus_reply_method_return(message, "") : bus_fail(error, r, NULL);
}

static int method_set(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    return change(message, userdata, true, error);
}

static int method_revoke(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    return change(message, userdata, false, error);
}

const sd_bus_vtable access_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("List", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("aa{sv}", rules),
                            method_list, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Set", SD_BUS_ARGS("s", app, "s", verdict, "a{sv}", options), SD_BUS_NO_RESULT,
                            method_set, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Revoke", SD_BUS_ARGS("s", app, "a{sv}", options), SD_BUS_NO_RESULT,
                            method_revoke, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Log", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("aa{sv}", uses), method_log,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};
