/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/content.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/file.h"

int content_open_input(Ctl *ctl, size_t operand, size_t limit, Input **ret)
{
    const char *path = ctl_operand(ctl, operand);
    int r = input_open(path, limit, ret);

    if (r == -ENOENT)
        return ctl_fail(ctl, HMSG_ERROR_NOT_FOUND, "There is no file %s", path);
    return r < 0 ? ctl_fail(ctl, r, "%s: %s", path ? path : "Standard input", error_message(r)) : 0;
}

int content_open_output(Ctl *ctl, mode_t mode, Output **ret)
{
    const char *path = ctl->options.values[OPTION_OUTPUT];
    int r = output_open(path, mode, ret);

    if (r == -EISDIR)
        return ctl_hint(ctl, ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "%s is a folder", path),
                        "End it with a slash to write into it under the sender's file name.");
    return r < 0 ? ctl_fail(ctl, r, "%s: %s", path ? path : "Standard output", error_message(r)) : 0;
}

int content_write(Ctl *ctl, Output *out, const void *data, size_t size)
{
    _cleanup_(buf_done) Buf escaped = BUF_MAX(RENDER_SIZE_MAX);
    int r = 0;

    if (output_is_terminal(out) && !ctl_given(ctl, OPTION_RAW)) {
        r = render_text(&escaped, data, size, true);
        if (r == 0 && escaped.size > 0 && escaped.data[escaped.size - 1] != '\n')
            r = buf_append_string(&escaped, "\n");
        data = escaped.data;
        size = escaped.size;
    }
    if (r == 0)
        r = file_write_fd(output_fd(out), data, size);
    return r < 0 ? ctl_fail(ctl, r, "Writing failed: %s", error_message(r)) : 0;
}

int content_refuse_terminal(Ctl *ctl, const Output *out, const char *what)
{
    if (!output_is_terminal(out) || ctl_given(ctl, OPTION_RAW))
        return 0;
    return ctl_hint(ctl, ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "%s does not belong on a terminal", what),
                    "Write it to a file with -o FILE, or give --raw.");
}

int content_commit(Ctl *ctl, Output *out, const char *name)
{
    _cleanup_(freep) char *path = NULL;
    int r = output_commit(out, name, &path);

    if (r == -EEXIST)
        return ctl_hint(ctl, ctl_fail(ctl, r, "There is a file of the name that the sender gave"),
                        "Give the file a name of your own with -o FILE.");
    if (r < 0)
        return ctl_fail(ctl, r, "Writing failed: %s", error_message(r));
    if (path && output_wants_name(out))
        ctl_note("Written to %s", path);
    return 0;
}

/* Takes value over. */
static int set(json_t *object, const char *key, json_t *value)
{
    return value && json_object_set_new(object, key, value) == 0 ? 0 : -ENOMEM;
}

int content_print_json(Ctl *ctl, json_t *info, const void *data, size_t size)
{
    _cleanup_(buf_done) Buf encoded = BUF_MAX(RENDER_SIZE_MAX);
    int r = 0;

    if (data) {
        json_t *text = memchr(data, 0, size) ? NULL : json_stringn(data, size);

        if (text) {
            r = set(info, "content", text);
        } else {
            r = base64_append(&encoded, data, size);
            if (r == 0)
                r = set(info, "content_base64", json_string(buf_text(&encoded)));
        }
    }
    return r < 0 ? r : ctl_print_json(ctl, info);
}
