/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/facts.h"
#include "cli/hint.h"
#include "cli/json-util.h"

#define NOTE_SIZE_MAX (64u * 1024u)

void ctl_done(Ctl *ctl)
{
    ctl->client = hmsg_client_free(ctl->client);
    free(ctl->detail);
    free(ctl->hint);
}

static void keep(char **kept, const char *format, va_list ap)
{
    char *text = NULL;

    if (vasprintf(&text, format, ap) < 0)
        return;
    free(*kept);
    *kept = text;
}

int ctl_fail(Ctl *ctl, int r, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    keep(&ctl->detail, format, ap);
    va_end(ap);
    return r;
}

int ctl_hint(Ctl *ctl, int r, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    keep(&ctl->hint, format, ap);
    va_end(ap);
    return r;
}

void ctl_note(const char *format, ...)
{
    _cleanup_(buf_done) Buf line = BUF_MAX(NOTE_SIZE_MAX);
    _cleanup_(freep) char *text = NULL;
    va_list ap;
    int n;

    va_start(ap, format);
    n = vasprintf(&text, format, ap);
    va_end(ap);
    if (n >= 0 && render_text(&line, text, strlen(text), true) == 0)
        (void)fprintf(stderr, "%s\n", buf_text(&line));
}

/* The agent knows best what its TPM lacks. */
static void ask_for_tpm_help(Ctl *ctl)
{
    _cleanup_(freep) char *detail = TAKE_PTR(ctl->detail);
    _cleanup_(json_unrefp) json_t *status = NULL;
    const char *help;

    if (!ctl->hint && ctl_simple(ctl, &status, "", "GetStatus", NULL) == 0) {
        help = json_string_value(json_object_get(status, "tpm_help"));
        if (help && *help)
            (void)ctl_hint(ctl, 0, "%s", help);
    }
    free(ctl->detail);
    ctl->detail = TAKE_PTR(detail);
}

int ctl_report(Ctl *ctl, int r)
{
    const char *hint;

    if (r == 0)
        return 0;
    if (r == HMSG_ERROR_TPM_UNAVAILABLE || r == HMSG_ERROR_TPM_LOCKED_OUT)
        ask_for_tpm_help(ctl);
    hint = ctl->hint ? ctl->hint : hint_for(ctl->command, r);
    if (hint && ctl->detail && (strstr(ctl->detail, hint) || (!ctl->hint && strstr(ctl->detail, "hmsgctl "))))
        hint = NULL; /* said already, or the agent knows better than a table what to run */
    ctl_note("hmsgctl: %s", ctl->detail && *ctl->detail ? ctl->detail : error_message(r));
    if (hint)
        ctl_note("%s", hint);
    return error_exit_status(r);
}

static int client_failed(Ctl *ctl, int r)
{
    const char *text = hmsg_client_error_text(ctl->client);

    return ctl_fail(ctl, r, "%s", *text ? text : error_message(r));
}

static int connect_agent(Ctl *ctl)
{
    int r;

    if (!ctl->client) {
        r = hmsg_client_new(&ctl->client);
        if (r < 0)
            return r;
        hmsg_client_set_interactive(ctl->client, !ctl_given(ctl, OPTION_NO_ASK));
    }
    r = hmsg_client_connect(ctl->client);
    if (r == 0)
        return 0;
    if (r == -ENOMEDIUM)
        return ctl_hint(ctl, ctl_fail(ctl, r, "There is no session bus"),
                        "Log in to a session, or set DBUS_SESSION_BUS_ADDRESS.");
    if (r < 0)
        (void)ctl_hint(
            ctl, r,
            "Is the agent there? Start it with: systemctl --user start hmsg-agent (see hmsg-agent(1)).");
    return client_failed(ctl, r);
}

int ctl_call_new(Ctl *ctl, const char *interface, const char *member, HmsgCall **ret)
{
    int r = connect_agent(ctl);

    if (r != 0)
        return r;
    r = hmsg_call_new(ctl->client, interface, member, ret);
    return r != 0 ? client_failed(ctl, r) : 0;
}

int ctl_call_run(Ctl *ctl, HmsgCall *call, sd_bus_message **ret_reply)
{
    int r = hmsg_call_run(call, ret_reply);

    return r != 0 ? client_failed(ctl, r) : 0;
}

int ctl_facts(Ctl *ctl, sd_bus_message *reply, json_t **ret)
{
    int r = facts_read(reply, ret);

    return r < 0 ? ctl_fail(ctl, r, "The agent's answer cannot be read: %s", error_message(r)) : 0;
}

int ctl_simple(Ctl *ctl, json_t **ret, const char *interface, const char *member, const char *argument)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    int r;

    r = ctl_call_new(ctl, interface, member, &call);
    if (r != 0)
        return r;
    if (argument)
        hmsg_call_string(call, argument);
    r = ctl_call_run(ctl, call, &reply);
    return r == 0 && ret ? ctl_facts(ctl, reply, ret) : r;
}

int ctl_confirm(Ctl *ctl, const char *question)
{
    _cleanup_(freep) char *line = NULL;
    size_t size = 0;

    if (ctl_given(ctl, OPTION_YES))
        return 0;
    if (ctl_given(ctl, OPTION_NO_ASK) || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return ctl_hint(
            ctl, ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "This must be confirmed, and there is no terminal"),
            "Give --yes to do it without a question.");
    (void)fprintf(stderr, "%s [y/N] ", question);
    if (getline(&line, &size, stdin) > 0 && (strcmp(line, "y\n") == 0 || strcmp(line, "yes\n") == 0))
        return 0;
    return ctl_fail(ctl, HMSG_ERROR_CANCELLED, "Nothing was done");
}

static int flush(Ctl *ctl)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    int e = errno;
    return ctl_fail(ctl, -e, "Standard output: %s", error_message(-e));
}

int ctl_print_text(Ctl *ctl, const char *text)
{
    (void)fputs(text, stdout);
    return flush(ctl);
}

int ctl_print_json(Ctl *ctl, const json_t *facts)
{
    (void)json_dumpf(facts, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    (void)fputs("\n", stdout);
    return flush(ctl);
}

int ctl_print_nothing(Ctl *ctl)
{
    return ctl_given(ctl, OPTION_JSON) ? ctl_print_text(ctl, "{}\n") : 0;
}

int ctl_print_table(Ctl *ctl, const json_t *rows, const RenderField *fields, size_t n, const char *if_empty)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(RENDER_SIZE_MAX);
    int r;

    if (ctl_given(ctl, OPTION_JSON))
        return ctl_print_json(ctl, rows);
    if (json_array_size(rows) == 0) {
        ctl_note("%s", if_empty);
        return 0;
    }
    r = render_table(&text, rows, fields, n);
    return r < 0 ? r : ctl_print_text(ctl, buf_text(&text));
}

int ctl_print_record(Ctl *ctl, const json_t *object, const RenderField *fields, size_t n)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(RENDER_SIZE_MAX);
    int r;

    if (ctl_given(ctl, OPTION_JSON))
        return ctl_print_json(ctl, object);
    r = render_record(&text, object, fields, n);
    return r < 0 ? r : ctl_print_text(ctl, buf_text(&text));
}
