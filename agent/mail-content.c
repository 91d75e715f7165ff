/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/mail-content.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"

#define MAGIC_SIZE (sizeof(MAIL_MAGIC) - 1)

/* Of the sender's own choice, so only what could mislead a path is refused. */
static bool file_name_valid(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int put(json_t *j, const char *member, const char *value, size_t max)
{
    int r;

    if (!value || !*value)
        return 0;
    if (strnlen(value, max + 1) > max || !utf8_is_text(value))
        return HMSG_ERROR_INVALID_ARGS;
    r = json_put_text(j, member, value);
    return r == 0 && json_has(j, member) ? 0 : HMSG_ERROR_INVALID_ARGS;
}

int mail_head_build(const char *subject, const char *file_name, Buf *ret)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(MAIL_HEAD_SIZE_MAX);
    json_t *j = json_object();
    int r;

    if (!j)
        return -ENOMEM;
    r = file_name && *file_name && !file_name_valid(file_name) ? HMSG_ERROR_INVALID_ARGS : 0;
    if (r == 0)
        r = put(j, "subject", subject, MAIL_SUBJECT_SIZE_MAX);
    if (r == 0)
        r = put(j, "file_name", file_name, MAIL_FILE_NAME_SIZE_MAX);
    if (r == 0)
        r = json_write(j, &text);
    json_decref(j);
    if (r == 0)
        r = buf_append(ret, MAIL_MAGIC, MAGIC_SIZE);
    if (r == 0)
        r = buf_append_u32(ret, (uint32_t)text.size);
    return r == 0 ? buf_append(ret, text.data, text.size) : r;
}

static int get(const json_t *j, const char *member, char *ret, size_t max)
{
    const char *text;
    size_t n;
    int r;

    if (!json_has(j, member))
        return 0;
    r = json_get_text(j, member, max, &text, &n);
    if (r != 0)
        return r;
    /* what a client could not be told would be a message that nobody can read */
    if (strlen(text) != n || !utf8_is_text(text))
        return HMSG_ERROR_BAD_PACKAGE;
    memcpy(ret, text, n + 1);
    return 0;
}

static int parse_json(const char *text, size_t n, MailHead *ret)
{
    static const char *const names[] = {"subject", "file_name", NULL};
    json_t *j = NULL;
    int r;

    r = json_parse_object(text, n, &j);
    if (r != 0)
        return r;
    r = json_check_names(j, names);
    if (r == 0)
        r = get(j, "subject", ret->subject, MAIL_SUBJECT_SIZE_MAX);
    if (r == 0)
        r = get(j, "file_name", ret->file_name, MAIL_FILE_NAME_SIZE_MAX);
    json_decref(j);
    if (r == 0 && *ret->file_name && !file_name_valid(ret->file_name))
        r = HMSG_ERROR_BAD_PACKAGE;
    return r;
}

int mail_head_parse(const void *data, size_t n, MailHead *ret, size_t *ret_size)
{
    const uint8_t *p = data;
    MailHead head = {0};
    size_t size;
    int r;

    if (memcmp(p, MAIL_MAGIC, n < MAGIC_SIZE ? n : MAGIC_SIZE) != 0) /* public */
        return HMSG_ERROR_BAD_PACKAGE;
    if (n < MAIL_PREAMBLE_SIZE)
        return -EAGAIN;
    size = (size_t)p[8] << 24 | (size_t)p[9] << 16 | (size_t)p[10] << 8 | p[11];
    if (size > MAIL_HEAD_SIZE_MAX)
        return HMSG_ERROR_BAD_PACKAGE;
    if (n - MAIL_PREAMBLE_SIZE < size)
        return -EAGAIN;
    r = parse_json((const char *)p + MAIL_PREAMBLE_SIZE, size, &head);
    if (r == 0) {
        *ret = head;
        *ret_size = MAIL_PREAMBLE_SIZE + size;
    }
    return r > 0 ? HMSG_ERROR_BAD_PACKAGE : r;
}
