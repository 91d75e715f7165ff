/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One run of hmsgctl: its command and options, the connection to the agent, and what went wrong. Functions
 * that return a code have left the text of a failure here; main() prints it once. */

#include <jansson.h>

#include "cli/command.h"
#include "cli/render.h"
#include "libhmsg/base/error.h"
#include "libhmsg/client/call.h"
#include "libhmsg/client/client.h"

struct Ctl {
    const Command *command;
    Options options;
    HmsgClient *client; /* NULL before the first call */
    char *detail;       /* of the failure */
    char *hint;         /* what to do about it, when the command knows better than the table */
};

void ctl_done(Ctl *ctl);

static inline bool ctl_given(const Ctl *ctl, OptionId id)
{
    return option_given(&ctl->options, id);
}

/* The i-th operand; NULL when there are fewer. */
static inline const char *ctl_operand(const Ctl *ctl, size_t i)
{
    return i < ctl->options.n_operands ? ctl->options.operands[i] : NULL;
}

/* Keeps the text and returns r. */
int ctl_fail(Ctl *ctl, int r, const char *format, ...) _printf_(3, 4);
int ctl_hint(Ctl *ctl, int r, const char *format, ...) _printf_(3, 4); /* keeps what to do, returns r */
/* Prints what was kept, and what to do about it; returns the exit status. 0: prints nothing. */
int ctl_report(Ctl *ctl, int r);

/* Connects when that is still to be done. */
int ctl_call_new(Ctl *ctl, const char *interface, const char *member, HmsgCall **ret);
int ctl_call_run(Ctl *ctl, HmsgCall *call, sd_bus_message **ret_reply);
/* The next argument of a reply, a new reference. */
int ctl_facts(Ctl *ctl, sd_bus_message *reply, json_t **ret);
/* A call with one string (NULL: none) and no options. ret (may be NULL): its first result. */
int ctl_simple(Ctl *ctl, json_t **ret, const char *interface, const char *member, const char *argument);

static inline void hmsg_call_freep(HmsgCall **call)
{
    (void)hmsg_call_free(*call);
}

/* Asks on the terminal; 0 when the answer is yes or --yes was given. CANCELLED: no. INVALID_ARGS: there is
 * nobody to ask. */
int ctl_confirm(Ctl *ctl, const char *question);

/* Standard output: the JSON with --json, else the text. */
int ctl_print_json(Ctl *ctl, const json_t *facts);
int ctl_print_text(Ctl *ctl, const char *text);
int ctl_print_table(Ctl *ctl, const json_t *rows, const RenderField *fields, size_t n, const char *if_empty);
int ctl_print_record(Ctl *ctl, const json_t *object, const RenderField *fields, size_t n);
/* When a command has done its work and there is nothing to tell: {} with --json. */
int ctl_print_nothing(Ctl *ctl);
/* One line to standard error, escaped. */
void ctl_note(const char *format, ...) _printf_(1, 2);
