/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/cmd.h"
#include "cli/content.h"

#define CONVERT_MAX (2u * 1024u * 1024u) /* bytes of what is passed in one call */

static int write_converted(Ctl *ctl, Output *out, sd_bus_message *reply)
{
    const void *data;
    size_t size;
    int r = sd_bus_message_read_array(reply, 'y', &data, &size);

    if (r < 0)
        return ctl_fail(ctl, r, "The agent's answer cannot be read: %s", error_message(r));
    r = content_write(ctl, out, data, size);
    return r == 0 ? content_commit(ctl, out, NULL) : r;
}

/* By the agent, which knows the formats; hmsgctl only carries them. */
static int convert(Ctl *ctl, const Buf *data, Output *out)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    int r;

    r = ctl_call_new(ctl, "Cipher", "Convert", &call);
    if (r != 0)
        return r;
    hmsg_call_bytes(call, buf_text(data), data->size);
    hmsg_call_option_string(call, "to", ctl->options.values[OPTION_TO]);
    r = ctl_call_run(ctl, call, &reply);
    return r == 0 ? write_converted(ctl, out, reply) : r;
}

int cmd_convert(Ctl *ctl)
{
    _cleanup_(input_freep) Input *in = NULL;
    _cleanup_(output_freep) Output *out = NULL;
    int r;

    r = content_open_input(ctl, 0, CONVERT_MAX, &in);
    if (r == 0)
        r = content_open_output(ctl, MODE_CIPHERTEXT, &out);
    if (r != 0)
        return r;
    if (output_wants_name(out))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "A file needs a name");
    if (!input_whole(in))
        return ctl_fail(ctl, HMSG_ERROR_BAD_PACKAGE, "This is too long to be one package");
    r = convert(ctl, input_data(in), out);
    return r == 0 && !output_is_stdout(out) ? ctl_print_nothing(ctl) : r;
}
