/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/content.h"
#include "cli/facts.h"
#include "cli/json-util.h"
#include "cli/progress.h"
#include "libhmsg/base/file.h"

#define DER_SEQUENCE 0x30                /* how CMS begins, unless it is text */
#define PACKAGE_MAX (2u * 1024u * 1024u) /* bytes of what is passed in one call */

static const RenderField info_fields[] = {
    {"id", "Message", RENDER_TEXT},
    {"sender", "From", RENDER_TEXT},
    {"subject", "Subject", RENDER_TEXT},
    {"file_name", "File name", RENDER_TEXT},
    {"timestamp", "Written", RENDER_TIME},
    {"received", "Received", RENDER_TIME},
    {"sender_protection", "Sender's keys", RENDER_TEXT},
    {"verified", "Verified", RENDER_BOOL},
    {"trusted", "Compared", RENDER_BOOL},
    {"replayed", "Seen before", RENDER_BOOL},
    {"expired", "Expired", RENDER_BOOL},
};

/* What must not be overlooked, to standard error. */
static void warn(const json_t *info)
{
    const json_t *authenticated = json_object_get(info, "authenticated");

    if (json_is_false(authenticated))
        ctl_note("hmsgctl: warning: this has no MAC; anybody may have changed it");
    if (json_is_false(json_object_get(info, "verified")))
        ctl_note("hmsgctl: warning: it is not known who made this");
    if (json_is_true(json_object_get(info, "expired")))
        ctl_note("hmsgctl: warning: this has expired");
    if (json_is_false(json_object_get(info, "to_end")))
        ctl_note("hmsgctl: note: this range is verified; whether the rest is there and unchanged was not "
                 "looked at");
}

/* On a terminal the reader sees from whom it is. */
static int show_info(const json_t *info)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(RENDER_SIZE_MAX);
    int r = render_record(&text, info, info_fields, ELEMENTSOF(info_fields));

    if (r == 0)
        ctl_note("%s", buf_text(&text));
    return r;
}

static const char *file_name(const json_t *info)
{
    return json_string_value(json_object_get(info, "file_name"));
}

/* All is verified when this is called. */
static int deliver(Ctl *ctl, Output *out, json_t *info, const void *data, size_t size)
{
    bool json = ctl_given(ctl, OPTION_JSON);
    int r = 0;

    warn(info);
    if (!json && output_is_terminal(out))
        r = show_info(info);
    if (json && output_is_stdout(out))
        return content_print_json(ctl, info, data, size);
    if (r == 0 && data)
        r = content_write(ctl, out, data, size);
    if (r == 0)
        r = content_commit(ctl, out, file_name(info));
    return r == 0 && json ? ctl_print_json(ctl, info) : r;
}

/* A reply of content and info. */
static int deliver_reply(Ctl *ctl, Output *out, sd_bus_message *reply)
{
    _cleanup_(json_unrefp) json_t *info = NULL;
    const void *data;
    size_t size;
    int r;

    r = sd_bus_message_read_array(reply, 'y', &data, &size);
    if (r < 0)
        return ctl_fail(ctl, r, "The agent's answer cannot be read: %s", error_message(r));
    r = ctl_facts(ctl, reply, &info);
    return r == 0 ? deliver(ctl, out, info, data ? data : "", size) : r;
}

static void add_options(Ctl *ctl, HmsgCall *call)
{
    if (ctl_given(ctl, OPTION_ALLOW_UNKNOWN))
        hmsg_call_option_bool(call, "allow_unknown", true);
    if (ctl_given(ctl, OPTION_ALLOW_OAEP_SHA1))
        hmsg_call_option_bool(call, "allow_oaep_sha1", true);
    if (ctl_given(ctl, OPTION_ALLOW_UNAUTHENTICATED))
        hmsg_call_option_bool(call, "allow_unauthenticated", true);
}

static bool may_stream(Ctl *ctl, const Output *out, int *ret)
{
    *ret = content_refuse_terminal(ctl, out, "A stream");
    if (*ret == 0 && ctl_given(ctl, OPTION_JSON) && output_is_stdout(out))
        *ret = ctl_hint(ctl, ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "A stream does not fit into JSON"),
                        "Write it to a file with -o FILE.");
    return *ret == 0;
}

static int decrypt_small(Ctl *ctl, Input *in, Output *out)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    int r;

    r = ctl_call_new(ctl, "Cipher", "Decrypt", &call);
    if (r != 0)
        return r;
    hmsg_call_bytes(call, buf_text(input_data(in)), input_data(in)->size);
    add_options(ctl, call);
    r = ctl_call_run(ctl, call, &reply);
    return r == 0 ? deliver_reply(ctl, out, reply) : r;
}

/* --range, when it was given. */
static int add_range(Ctl *ctl, HmsgCall *call)
{
    const char *text = ctl->options.values[OPTION_RANGE];
    uint64_t offset, length;
    int r;

    if (!ctl_given(ctl, OPTION_RANGE))
        return 0;
    r = option_range(text, &offset, &length);
    if (r != 0)
        return ctl_hint(ctl, ctl_fail(ctl, r, "\"%s\" is no range", text),
                        "Give OFFSET:LENGTH in bytes, or OFFSET: for all from there.");
    hmsg_call_option_range(call, "range", offset, length);
    return 0;
}

static int run_to_fd(Ctl *ctl, HmsgCall *call, json_t **ret_info)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    int r = ctl_call_run(ctl, call, &reply);

    return r == 0 ? ctl_facts(ctl, reply, ret_info) : r;
}

/* Who reads standard output must know that it is not the whole. */
static int stream_failed(Ctl *ctl, const Output *out, int r)
{
    struct stat st;

    if (r == HMSG_ERROR_AUTHENTICATION_FAILED && output_is_stdout(out) &&
        (fstat(output_fd(out), &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > 0))
        return ctl_hint(
            ctl, r,
            "It was cut off, damaged or changed on its way. What was written, if anything, is verified, but "
            "not the whole.");
    return r;
}

static int decrypt_stream(Ctl *ctl, Input *in, Output *out)
{
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(json_unrefp) json_t *info = NULL;
    Progress progress = progress_begin();
    int fd, r;

    if (!may_stream(ctl, out, &r))
        return r;
    r = input_fd(in, &fd);
    if (r < 0)
        return ctl_fail(ctl, r, "The input cannot be read: %s", error_message(r));
    r = ctl_call_new(ctl, "Cipher", "DecryptFd", &call);
    if (r != 0)
        return r;
    hmsg_call_fd(call, fd);
    hmsg_call_fd(call, output_fd(out));
    add_options(ctl, call);
    r = add_range(ctl, call);
    if (r != 0)
        return r;
    if (input_size(in) > 0 && !ctl_given(ctl, OPTION_RANGE))
        hmsg_call_option_number(call, "size", input_size(in));
    hmsg_call_progress(call, progress_show, &progress);
    r = run_to_fd(ctl, call, &info);
    progress_end(&progress);
    if (r != 0)
        return stream_failed(ctl, out, r);
    r = input_finish(in);
    if (r < 0)
        return ctl_fail(ctl, r, "The input could not be read to its end");
    return deliver(ctl, out, info, NULL, 0);
}

/* JSON that is not too long goes in one call, a compact JWE and CMS, of which all begin so; a stream does
 * not. */
static bool is_small(const Input *in)
{
    const char *text = buf_text(input_data(in));

    text += strspn(text, " \t\r\n");
    return input_whole(in) &&
           (*text == '{' || *text == '[' || *text == 'e' || *text == '-' || *text == DER_SEQUENCE);
}

int cmd_decrypt(Ctl *ctl)
{
    _cleanup_(input_freep) Input *in = NULL;
    _cleanup_(output_freep) Output *out = NULL;
    int r;

    /* a range is for the agent to take: nothing is read here */
    r = content_open_input(ctl, 0, ctl_given(ctl, OPTION_RANGE) ? 0 : PACKAGE_MAX, &in);
    if (r == 0)
        r = content_open_output(ctl, MODE_PLAINTEXT, &out);
    if (r != 0)
        return r;
    if (input_whole(in) && input_data(in)->size == 0)
        return ctl_fail(ctl, HMSG_ERROR_BAD_PACKAGE, "The input is empty");
    return is_small(in) ? decrypt_small(ctl, in, out) : decrypt_stream(ctl, in, out);
}

static int read_small(Ctl *ctl, const char *id, Output *out)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    int r;

    r = ctl_call_new(ctl, "Mail", "Read", &call);
    if (r != 0)
        return r;
    hmsg_call_string(call, id);
    add_options(ctl, call);
    r = ctl_call_run(ctl, call, &reply);
    return r == 0 ? deliver_reply(ctl, out, reply) : r;
}

/* Has no option job: a message of the inbox is here already. */
static int read_large(Ctl *ctl, const char *id, Output *out)
{
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(json_unrefp) json_t *info = NULL;
    int r;

    if (!may_stream(ctl, out, &r))
        return r;
    r = ctl_call_new(ctl, "Mail", "ReadFd", &call);
    if (r != 0)
        return r;
    hmsg_call_string(call, id);
    hmsg_call_fd(call, output_fd(out));
    add_options(ctl, call);
    r = run_to_fd(ctl, call, &info);
    return r == 0 ? deliver(ctl, out, info, NULL, 0) : stream_failed(ctl, out, r);
}

int cmd_read(Ctl *ctl)
{
    _cleanup_(output_freep) Output *out = NULL;
    const char *id = ctl_operand(ctl, 0);
    int r;

    r = content_open_output(ctl, MODE_PLAINTEXT, &out);
    if (r != 0)
        return r;
    r = read_small(ctl, id, out);
    return r == HMSG_ERROR_TOO_LARGE ? read_large(ctl, id, out) : r;
}

/* destination gets the content, *ret_info the facts. */
static int read_copy(Ctl *ctl, Input *in, int destination, json_t **ret_info)
{
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    int fd, r;

    r = input_fd(in, &fd);
    if (r < 0)
        return ctl_fail(ctl, r, "The input cannot be read: %s", error_message(r));
    r = ctl_call_new(ctl, "Mail", "ReadCopy", &call);
    if (r != 0)
        return r;
    hmsg_call_fd(call, fd);
    hmsg_call_fd(call, destination);
    add_options(ctl, call);
    r = run_to_fd(ctl, call, ret_info);
    if (r != 0)
        return r;
    r = input_finish(in);
    return r < 0 ? ctl_fail(ctl, r, "The input could not be read to its end") : 0;
}

/* What is shown, or becomes JSON, must be whole first, and is not large. */
static int open_to_show(Ctl *ctl, Input *in, Output *out)
{
    _cleanup_(buf_done) Buf content = BUF_MAX(CONTENT_MAX);
    _cleanup_(json_unrefp) json_t *info = NULL;
    _cleanup_(fd_closep) int fd = memfd_create("hmsg-content", MFD_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    r = read_copy(ctl, in, fd, &info);
    if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
        r = -errno;
    if (r == 0)
        r = file_read_fd(fd, &content);
    if (r == -EMSGSIZE)
        return ctl_hint(ctl, ctl_fail(ctl, HMSG_ERROR_TOO_LARGE, "The message is larger than 1 MiB"),
                        "Write it to a file with -o FILE.");
    return r == 0 ? deliver(ctl, out, info, buf_text(&content), content.size) : r;
}

int cmd_inbox_open(Ctl *ctl)
{
    _cleanup_(json_unrefp) json_t *info = NULL;
    _cleanup_(input_freep) Input *in = NULL;
    _cleanup_(output_freep) Output *out = NULL;
    int r;

    r = content_open_input(ctl, 0, 0, &in);
    if (r == 0)
        r = content_open_output(ctl, MODE_PLAINTEXT, &out);
    if (r != 0)
        return r;
    if (output_is_terminal(out) || (ctl_given(ctl, OPTION_JSON) && output_is_stdout(out)))
        return open_to_show(ctl, in, out);
    r = read_copy(ctl, in, output_fd(out), &info);
    return r == 0 ? deliver(ctl, out, info, NULL, 0) : stream_failed(ctl, out, r);
}
