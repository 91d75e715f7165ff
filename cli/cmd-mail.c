/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/content.h"
#include "cli/json-util.h"
#include "cli/progress.h"
#include "cli/recipients.h"

#define EXPIRES_MAX (30u * 86400u) /* seconds */
#define EXPIRES_MIN 1u

static const RenderField inbox_columns[] = {
    {"id", "ID", RENDER_TEXT},
    {"sender", "FROM", RENDER_TEXT},
    {"verified", "VERIFIED", RENDER_BOOL},
    {"size", "SIZE", RENDER_SIZE},
    {"received", "RECEIVED", RENDER_TIME},
    {"state", "STATE", RENDER_TEXT},
};
static const RenderField outbox_columns[] = {
    {"id", "ID", RENDER_TEXT},         {"recipient", "TO", RENDER_TEXT}, {"size", "SIZE", RENDER_SIZE},
    {"queued", "QUEUED", RENDER_TIME}, {"state", "STATE", RENDER_TEXT},  {"error", "ERROR", RENDER_TEXT},
};

static int check_recipients(Ctl *ctl)
{
    if (ctl->options.n_recipients == 0)
        return ctl_hint(ctl, ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "There is no recipient"),
                        "Give one or more with -r: an address or the name of a contact.");
    for (size_t i = 0; i < ctl->options.n_recipients; i++)
        if (strncmp(ctl->options.recipients[i], KEY_PREFIX, strlen(KEY_PREFIX)) == 0)
            return ctl_hint(ctl,
                            ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS,
                                     "A message cannot be sent to a key without an address"),
                            "Give an address, or use hmsgctl encrypt and carry the result yourself.");
    return 0;
}

static int send_call(Ctl *ctl, Input *in, uint64_t expires, HmsgCall **ret)
{
    bool small = input_whole(in) && input_data(in)->size <= CONTENT_MAX;
    HmsgCall *call;
    int fd = -1, r = 0;

    if (!small)
        r = input_fd(in, &fd);
    if (r < 0)
        return ctl_fail(ctl, r, "The input cannot be read: %s", error_message(r));
    r = ctl_call_new(ctl, "Mail", small ? "Send" : "SendFd", &call);
    if (r != 0)
        return r;
    hmsg_call_strings(call, ctl->options.recipients, ctl->options.n_recipients);
    if (small)
        hmsg_call_bytes(call, buf_text(input_data(in)), input_data(in)->size);
    else
        hmsg_call_fd(call, fd);
    hmsg_call_option_string(call, "subject", ctl->options.values[OPTION_SUBJECT]);
    hmsg_call_option_string(call, "file_name", input_name(in));
    if (expires > 0)
        hmsg_call_option_number(call, "expires_in", expires);
    if (ctl_given(ctl, OPTION_TRUST_RELAY))
        hmsg_call_option_bool(call, "trust_relay", true);
    if (ctl_given(ctl, OPTION_FRESH))
        hmsg_call_option_bool(call, "fresh", true);
    *ret = call;
    return 0;
}

static int print_id(Ctl *ctl, sd_bus_message *reply)
{
    _cleanup_(json_unrefp) json_t *id = NULL, *facts = NULL;
    _cleanup_(buf_done) Buf text = BUF_MAX(RENDER_SIZE_MAX);
    int r = ctl_facts(ctl, reply, &id);

    if (r != 0)
        return r;
    facts = json_pack("{s:O}", "id", id);
    if (!facts)
        return -ENOMEM;
    if (ctl_given(ctl, OPTION_JSON))
        return ctl_print_json(ctl, facts);
    r = render_value(&text, id, RENDER_TEXT);
    if (r == 0)
        r = buf_append_string(&text, "\n");
    return r < 0 ? r : ctl_print_text(ctl, buf_text(&text));
}

int cmd_send(Ctl *ctl)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const char *expires = ctl->options.values[OPTION_EXPIRES];
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(input_freep) Input *in = NULL;
    Progress progress = progress_begin();
    uint64_t seconds = 0;
    int r;

    r = check_recipients(ctl);
    if (r == 0 && expires && (option_seconds(expires, EXPIRES_MAX, &seconds) != 0 || seconds < EXPIRES_MIN))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "--expires is a time such as 12h, at most 30d");
    if (r == 0)
        r = content_open_input(ctl, 0, CONTENT_MAX, &in);
    if (r == 0)
        r = send_call(ctl, in, seconds, &call);
    if (r != 0)
        return r;
    hmsg_call_progress(call, progress_show, &progress);
    r = ctl_call_run(ctl, call, &reply);
    progress_end(&progress);
    if (r == 0 && (r = input_finish(in)) < 0)
        return ctl_hint(
            ctl, ctl_fail(ctl, r, "The input could not be read to its end, and what was read is queued"),
            "Take it back with: hmsgctl outbox cancel ID.");
    return r == 0 ? print_id(ctl, reply) : r;
}

static int list(Ctl *ctl, const char *box, json_t **ret)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    int r = ctl_call_new(ctl, "Mail", "List", &call);

    if (r != 0)
        return r;
    hmsg_call_option_string(call, "box", box);
    r = ctl_call_run(ctl, call, &reply);
    return r == 0 ? ctl_facts(ctl, reply, ret) : r;
}

int cmd_inbox(Ctl *ctl)
{
    _cleanup_(json_unrefp) json_t *messages = NULL;
    int r = 0;

    if (ctl_given(ctl, OPTION_SYNC))
        r = ctl_simple(ctl, NULL, "Mail", "Sync", NULL);
    if (r == 0)
        r = list(ctl, "inbox", &messages);
    return r == 0 ? ctl_print_table(ctl, messages, inbox_columns, ELEMENTSOF(inbox_columns),
                                    "There are no messages.")
                  : r;
}

int cmd_inbox_copy(Ctl *ctl)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(json_unrefp) json_t *info = NULL;
    _cleanup_(output_freep) Output *out = NULL;
    int r = content_open_output(ctl, MODE_CIPHERTEXT, &out);

    if (r == 0 && output_wants_name(out))
        r = ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "A file needs a name");
    if (r == 0)
        r = content_refuse_terminal(ctl, out, "An encrypted message");
    if (r == 0 && ctl_given(ctl, OPTION_JSON) && output_is_stdout(out))
        r = ctl_hint(ctl, ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "A message does not fit into JSON"),
                     "Write it to a file with -o FILE.");
    if (r == 0)
        r = ctl_call_new(ctl, "Mail", "Copy", &call);
    if (r != 0)
        return r;
    hmsg_call_string(call, ctl_operand(ctl, 0));
    hmsg_call_fd(call, output_fd(out));
    r = ctl_call_run(ctl, call, &reply);
    if (r == 0)
        r = ctl_facts(ctl, reply, &info);
    if (r == 0)
        r = content_commit(ctl, out, NULL);
    return r == 0 && ctl_given(ctl, OPTION_JSON) ? ctl_print_json(ctl, info) : r;
}

int cmd_outbox(Ctl *ctl)
{
    _cleanup_(json_unrefp) json_t *messages = NULL;
    int r = list(ctl, "outbox", &messages);

    return r == 0 ? ctl_print_table(ctl, messages, outbox_columns, ELEMENTSOF(outbox_columns),
                                    "There are no messages.")
                  : r;
}

static int act(Ctl *ctl, const char *member, const char *id)
{
    int r = ctl_simple(ctl, NULL, "Mail", member, id);

    return r == 0 ? ctl_print_nothing(ctl) : r;
}

int cmd_delete(Ctl *ctl)
{
    int r = ctl_confirm(ctl, "This deletes the message for good. Do it?");

    return r == 0 ? act(ctl, "Delete", ctl_operand(ctl, 0)) : r;
}

int cmd_outbox_retry(Ctl *ctl)
{
    const char *id = ctl_operand(ctl, 0);

    return act(ctl, "Retry", id ? id : "");
}

int cmd_outbox_cancel(Ctl *ctl)
{
    return act(ctl, "Cancel", ctl_operand(ctl, 0));
}
