/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/content.h"
#include "cli/progress.h"
#include "cli/recipients.h"
#include "libhmsg/base/file.h"

typedef enum Format {
    FORMAT_HMSG,
    FORMAT_JWE,
    FORMAT_JWE_COMPACT,
    FORMAT_CMS,
    FORMAT_CMS_DER,
    FORMAT_SEED,
    FORMAT_STREAM,
    FORMAT_ANY, /* a package, or a stream for what is larger */
} Format;

static const char *const format_names[] = {"hmsg", "jwe", "jwe-compact", "cms", "cms-der", "seed", "stream"};

typedef struct Encryption {
    Recipients recipients;
    Format format;
    Input *in;
    Output *out;
} Encryption;

static void encryption_done(Encryption *e)
{
    recipients_done(&e->recipients);
    (void)input_free(e->in);
    (void)output_free(e->out);
}

static int read_format(Ctl *ctl, Format *ret)
{
    const char *name = ctl->options.values[OPTION_FORMAT];

    *ret = FORMAT_ANY;
    if (!name)
        return 0;
    for (size_t i = 0; i < ELEMENTSOF(format_names); i++)
        if (strcmp(name, format_names[i]) == 0) {
            *ret = (Format)i;
            return 0;
        }
    return ctl_hint(ctl, ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "There is no format \"%s\"", name),
                    "The formats are hmsg, jwe, jwe-compact, cms, cms-der, stream and seed.");
}

static bool is_cms(Format f)
{
    return f == FORMAT_CMS || f == FORMAT_CMS_DER;
}

/* CMS is for others, who open one layer with one command: it is signed on request. */
static int check_sign(Ctl *ctl, Format f)
{
    if (!ctl_given(ctl, OPTION_SIGN))
        return 0;
    if (ctl_given(ctl, OPTION_NO_SIGN))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "--sign and --no-sign contradict each other");
    if (f == FORMAT_SEED || f == FORMAT_JWE_COMPACT)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "The format %s is never signed", format_names[f]);
    return 0;
}

static void add_options(Ctl *ctl, const Encryption *e, HmsgCall *call)
{
    recipients_add_keys(&e->recipients, call);
    if (ctl_given(ctl, OPTION_NO_SIGN) || (is_cms(e->format) && !ctl_given(ctl, OPTION_SIGN)))
        hmsg_call_option_bool(call, "sign", false);
    if (ctl_given(ctl, OPTION_FRESH))
        hmsg_call_option_bool(call, "fresh", true);
}

/* One package as it is; of several an array. */
static int join_packages(sd_bus_message *reply, Buf *ret)
{
    const void *data;
    size_t n = 0, size;
    int r;

    r = sd_bus_message_enter_container(reply, 'a', "ay");
    while (r >= 0 && (r = sd_bus_message_at_end(reply, 0)) == 0) {
        r = sd_bus_message_read_array(reply, 'y', &data, &size);
        if (r >= 0)
            r = buf_append_string(ret, n++ > 0 ? "," : "[");
        if (r >= 0)
            r = buf_append(ret, data, size);
    }
    if (r >= 0)
        r = buf_append_string(ret, "]");
    return r < 0 ? r : n == 0 ? -EBADMSG : (int)n;
}

static int print_packages(Ctl *ctl, Encryption *e, sd_bus_message *reply)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(RENDER_SIZE_MAX);
    int n, r;

    n = join_packages(reply, &text);
    if (n < 0)
        return ctl_fail(ctl, n, "The agent's answer cannot be read: %s", error_message(n));
    r = n == 1 ? content_write(ctl, e->out, text.data + 1, text.size - 2)
               : content_write(ctl, e->out, text.data, text.size);
    return r;
}

static int encrypt_small(Ctl *ctl, Encryption *e)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    const Buf *data = input_data(e->in);
    int r;

    r = ctl_call_new(ctl, "Cipher", "Encrypt", &call);
    if (r != 0)
        return r;
    hmsg_call_strings(call, e->recipients.names, e->recipients.n_names);
    hmsg_call_bytes(call, buf_text(data), data->size);
    add_options(ctl, e, call);
    if (e->format != FORMAT_ANY && e->format != FORMAT_HMSG)
        hmsg_call_option_string(call, "format", format_names[e->format]);
    r = ctl_call_run(ctl, call, &reply);
    return r == 0 ? print_packages(ctl, e, reply) : r;
}

static int encrypt_stream(Ctl *ctl, Encryption *e)
{
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    Progress progress = progress_begin();
    int fd, r;

    r = content_refuse_terminal(ctl, e->out, "A stream");
    if (r != 0)
        return r;
    r = input_fd(e->in, &fd);
    if (r < 0)
        return ctl_fail(ctl, r, "The input cannot be read: %s", error_message(r));
    r = ctl_call_new(ctl, "Cipher", "EncryptFd", &call);
    if (r != 0)
        return r;
    hmsg_call_strings(call, e->recipients.names, e->recipients.n_names);
    hmsg_call_fd(call, fd);
    hmsg_call_fd(call, output_fd(e->out));
    add_options(ctl, e, call);
    if (input_size(e->in) > 0)
        hmsg_call_option_number(call, "size", input_size(e->in));
    hmsg_call_progress(call, progress_show, &progress);
    r = ctl_call_run(ctl, call, NULL);
    progress_end(&progress);
    if (r == 0 && (r = input_finish(e->in)) < 0)
        return ctl_fail(ctl, r, "The input could not be read to its end");
    return r;
}

int cmd_encrypt(Ctl *ctl)
{
    _cleanup_(encryption_done) Encryption e = {0};
    int r;

    r = read_format(ctl, &e.format);
    if (r == 0)
        r = check_sign(ctl, e.format);
    if (r == 0)
        r = recipients_read(ctl, &e.recipients);
    if (r == 0)
        r = content_open_input(ctl, 0, CONTENT_MAX, &e.in);
    if (r == 0)
        r = content_open_output(ctl, MODE_CIPHERTEXT, &e.out);
    if (r == 0 && e.format == FORMAT_CMS_DER)
        r = content_refuse_terminal(ctl, e.out, "CMS in DER");
    if (r != 0)
        return r;
    if (output_wants_name(e.out))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "A file needs a name");
    if (e.format == FORMAT_STREAM || (e.format == FORMAT_ANY && !input_whole(e.in)))
        r = encrypt_stream(ctl, &e);
    else if (!input_whole(e.in))
        return ctl_fail(ctl, HMSG_ERROR_TOO_LARGE, "This is more than 1 MiB");
    else
        r = encrypt_small(ctl, &e);
    if (r == 0)
        r = content_commit(ctl, e.out, NULL);
    if (r == 0 && e.format == FORMAT_SEED)
        ctl_note("hmsgctl: warning: the seed form does not say who made it; only its hmac keeps it from "
                 "being changed");
    if (r == 0 && e.format == FORMAT_JWE_COMPACT)
        ctl_note("hmsgctl: warning: a compact JWE does not say who made it");
    return r == 0 && !output_is_stdout(e.out) ? ctl_print_nothing(ctl) : r;
}
