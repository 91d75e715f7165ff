/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/facts.h"
#include "cli/json-util.h"

static const RenderField status_fields[] = {
    {"version", "Agent", RENDER_TEXT},           {"state", "Identity", RENDER_TEXT},
    {"protection", "Protection", RENDER_TEXT},   {"tpm", "TPM", RENDER_TEXT},
    {"tpm_help", "What to do", RENDER_TEXT},     {"courier", "Courier", RENDER_TEXT},
    {"store", "Key of the store", RENDER_TEXT},  {"store_problem", "Store not open", RENDER_TEXT},
    {"inbox", "Unread messages", RENDER_NUMBER}, {"outbox", "Messages to send", RENDER_NUMBER},
    {"sessions", "Session keys", RENDER_NUMBER}, {"session_keys_hot", "In kernel keyring", RENDER_NUMBER},
};
static const char *const relay_names[] = {"relay", "state", "error"};
static const RenderField relay_fields[] = {
    {"relay", "RELAY", RENDER_TEXT},
    {"state", "STATE", RENDER_TEXT},
    {"error", "LAST ERROR", RENDER_TEXT},
};
static const char *const former_names[] = {"kid", "generation", "until", "held"};
static const RenderField former_fields[] = {
    {"kid", "FORMER KEY", RENDER_TEXT},
    {"generation", "GENERATION", RENDER_NUMBER},
    {"until", "ENDS", RENDER_TIME},
    {"held", "HELD BY MAIL", RENDER_BOOL},
};
static const char *const check_names[] = {"name", "result", "text", "help"};

static int add_table(Buf *text, const json_t *rows, const RenderField *fields, size_t n)
{
    int r = json_array_size(rows) > 0 ? buf_append_string(text, "\n") : 0;

    return r == 0 ? render_table(text, rows, fields, n) : r;
}

static int print_status(Ctl *ctl, const json_t *status, const json_t *relays, const json_t *former)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(RENDER_SIZE_MAX);
    int r;

    r = render_record(&text, status, status_fields, ELEMENTSOF(status_fields));
    if (r == 0)
        r = add_table(&text, former, former_fields, ELEMENTSOF(former_fields));
    if (r == 0)
        r = add_table(&text, relays, relay_fields, ELEMENTSOF(relay_fields));
    return r < 0 ? r : ctl_print_text(ctl, buf_text(&text));
}

int cmd_status(Ctl *ctl)
{
    _cleanup_(json_unrefp) json_t *status = NULL, *relays = NULL, *former = NULL;
    int r;

    r = ctl_simple(ctl, &status, "", "GetStatus", NULL);
    if (r != 0)
        return r;
    r = facts_name(json_object_get(status, "relays"), relay_names, ELEMENTSOF(relay_names), &relays);
    if (r == 0)
        r = facts_name(json_object_get(status, "former_keys"), former_names, ELEMENTSOF(former_names),
                       &former);
    if (r < 0)
        return r;
    if (!ctl_given(ctl, OPTION_JSON))
        return print_status(ctl, status, relays, former);
    if (json_object_set(status, "relays", relays) < 0 || json_object_set(status, "former_keys", former) < 0)
        return -ENOMEM;
    return ctl_print_json(ctl, status);
}

static int add_check(Buf *text, const json_t *check)
{
    static const RenderKind kind = RENDER_TEXT;
    const char *help = json_string_value(json_object_get(check, "help"));
    int r;

    r = render_value(text, json_object_get(check, "result"), kind);
    if (r == 0)
        r = buf_append_string(text, "\t");
    if (r == 0)
        r = render_value(text, json_object_get(check, "name"), kind);
    if (r == 0)
        r = buf_append_string(text, ": ");
    if (r == 0)
        r = render_value(text, json_object_get(check, "text"), kind);
    if (r == 0 && help && *help)
        r = buf_append_string(text, "\n\t  ");
    if (r == 0 && help && *help)
        r = render_text(text, help, strlen(help), false);
    return r < 0 ? r : buf_append_string(text, "\n");
}

static int print_checks(Ctl *ctl, const json_t *checks)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(RENDER_SIZE_MAX);
    int r = 0;

    if (ctl_given(ctl, OPTION_JSON))
        return ctl_print_json(ctl, checks);
    for (size_t i = 0; r == 0 && i < json_array_size(checks); i++)
        r = add_check(&text, json_array_get(checks, i));
    return r < 0 ? r : ctl_print_text(ctl, buf_text(&text));
}

int cmd_doctor(Ctl *ctl)
{
    _cleanup_(json_unrefp) json_t *rows = NULL, *checks = NULL;
    size_t n = 0;
    int r;

    r = ctl_simple(ctl, &rows, "", "Diagnose", NULL);
    if (r == 0)
        r = facts_name(rows, check_names, ELEMENTSOF(check_names), &checks);
    if (r == 0)
        r = print_checks(ctl, checks);
    if (r != 0)
        return r;
    for (size_t i = 0; i < json_array_size(checks); i++) {
        const char *result = json_string_value(json_object_get(json_array_get(checks, i), "result"));

        n += !result || strcmp(result, "ok") != 0;
    }
    return n > 0 ? ctl_fail(ctl, -EIO, "Not all is well: %zu of the checks say what to do", n) : 0;
}
