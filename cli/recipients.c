/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/recipients.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "libhmsg/base/file.h"

int recipients_read_key(Ctl *ctl, const char *path, Buf *ret)
{
    int r;

    ret->max = KEY_FILE_MAX;
    r = file_read(AT_FDCWD, path, ret);
    if (r == -ENOENT)
        return ctl_fail(ctl, HMSG_ERROR_NOT_FOUND, "There is no key file %s", path);
    if (r == -EMSGSIZE)
        return ctl_fail(ctl, HMSG_ERROR_TOO_LARGE, "%s is too large for a key file", path);
    return r < 0 ? ctl_fail(ctl, r, "%s: %s", path, error_message(r)) : 0;
}

int recipients_read(Ctl *ctl, Recipients *ret)
{
    const size_t prefix = strlen(KEY_PREFIX);

    *ret = (Recipients){0};
    if (ctl->options.n_recipients == 0)
        return ctl_hint(ctl, ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "There is no recipient"),
                        "Give one or more with -r: an address, the name of a contact, or key:FILE.");
    for (size_t i = 0; i < ctl->options.n_recipients; i++) {
        const char *word = ctl->options.recipients[i];
        int r;

        if (strncmp(word, KEY_PREFIX, prefix) != 0) {
            ret->names[ret->n_names++] = word;
            continue;
        }
        r = recipients_read_key(ctl, word + prefix, &ret->keys[ret->n_keys++]);
        if (r != 0)
            return r;
    }
    return 0;
}

void recipients_done(Recipients *r)
{
    while (r->n_keys > 0)
        buf_done(&r->keys[--r->n_keys]);
}

void recipients_add_keys(const Recipients *r, HmsgCall *call)
{
    const void *data[OPTION_RECIPIENTS_MAX];
    size_t sizes[OPTION_RECIPIENTS_MAX];

    for (size_t i = 0; i < r->n_keys; i++) {
        data[i] = r->keys[i].data;
        sizes[i] = r->keys[i].size;
    }
    if (r->n_keys > 0)
        hmsg_call_option_bytes_list(call, "recipient_keys", data, sizes, r->n_keys);
}
