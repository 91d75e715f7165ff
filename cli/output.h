/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where a command writes content. A file appears under its name only when output_commit is called, whole;
 * until then it has no name, so that nothing is left behind. */

#include <sys/types.h>

#include "libhmsg/base/macro.h"

#define OUTPUT_NAME_MAX 200u /* bytes of a name that comes from others */

typedef struct Output Output;

/* path NULL or "-": standard output. "DIR/": a file in that folder, whose name output_commit gets. A device
 * or pipe is written as it is. -EISDIR: path is a folder without the slash. mode: of a new file. */
int output_open(const char *path, mode_t mode, Output **ret);
/* What was not committed is gone. */
Output *output_free(Output *out);
DEFINE_CLEANUP(Output *, output_free)

int output_fd(const Output *out);
/* Whether it is standard output, and that a terminal. */
bool output_is_terminal(const Output *out);
bool output_is_stdout(const Output *out);
/* Whether the name is still to be given. */
bool output_wants_name(const Output *out);

/* Gives the file its name, replacing another; but in a folder, where the name comes from others, nothing is
 * replaced: -EEXIST. *ret_path (may be NULL; to be freed) is where it is, NULL for standard output. */
int output_commit(Output *out, const char *name, char **ret_path);

/* A name that is harmless in any folder: the last part, no leading dot, no controls, at most OUTPUT_NAME_MAX
 * bytes; "message" when nothing is left. -ENOMEM. */
int output_safe_name(const char *hostile, char **ret);
