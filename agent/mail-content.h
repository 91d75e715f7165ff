/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is encrypted in a message of mail: "hmsgmail", the size of the head as 32-bit big-endian, the head,
 * then the content. The head is a strict JSON object with at most the members subject and file_name, both
 * UTF-8 texts; docs/protocol.md. So what a message is about travels encrypted, in packages and streams alike.
 */

#include "libhmsg/base/buf.h"

#define MAIL_MAGIC "hmsgmail"
#define MAIL_PREAMBLE_SIZE 12u   /* magic and size of the head */
#define MAIL_HEAD_SIZE_MAX 4096u /* of the JSON */
#define MAIL_SUBJECT_SIZE_MAX 255u
#define MAIL_FILE_NAME_SIZE_MAX 255u

typedef struct MailHead {
    char subject[MAIL_SUBJECT_SIZE_MAX + 1];     /* "": none. From the sender: hostile */
    char file_name[MAIL_FILE_NAME_SIZE_MAX + 1]; /* the same; a basename */
} MailHead;

/* Appends preamble and head. INVALID_ARGS: not UTF-8, too long, or file_name is no basename. Either may be
 * NULL. */
int mail_head_build(const char *subject, const char *file_name, Buf *ret);
/* The begin of a plaintext; *ret_size is where the content begins. -EAGAIN: more than n bytes are needed.
 * BAD_PACKAGE: not of this form. */
int mail_head_parse(const void *data, size_t n, MailHead *ret, size_t *ret_size);
