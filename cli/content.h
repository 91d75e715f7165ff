/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the commands that read or write content share. */

#include "cli/ctl.h"
#include "cli/input.h"
#include "cli/output.h"

#define CONTENT_MAX (1024u * 1024u) /* bytes of one package's plaintext, as in the protocol */

/* Modes of new files. */
#define MODE_PLAINTEXT 0600
#define MODE_CIPHERTEXT 0666 /* less the umask */

/* Operand i or standard input, and --output; with the text of a failure. */
int content_open_input(Ctl *ctl, size_t operand, size_t limit, Input **ret);
int content_open_output(Ctl *ctl, mode_t mode, Output **ret);

/* Writes content; escaped when it goes to a terminal, unless --raw. */
int content_write(Ctl *ctl, Output *out, const void *data, size_t size);
/* Refuses a terminal, unless --raw: for what cannot be escaped. */
int content_refuse_terminal(Ctl *ctl, const Output *out, const char *what);
/* output_commit, with the text of a failure; tells where the file is when its name was not the user's. */
int content_commit(Ctl *ctl, Output *out, const char *name);

/* --json of content that was read: info, and the content as "content" when it is UTF-8 without NUL, else as
 * "content_base64". data may be NULL when the content went elsewhere. */
int content_print_json(Ctl *ctl, json_t *info, const void *data, size_t size);
