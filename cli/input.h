/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a command reads: a file or standard input. Up to a limit it is held in memory; more is handed to the
 * agent as a descriptor. Made before the agent is connected, for it may start a process. */

#include <sys/types.h>

#include "libhmsg/base/buf.h"

typedef struct Input Input;

/* path NULL or "-": standard input. Reads up to limit bytes and finds out whether that is all. */
int input_open(const char *path, size_t limit, Input **ret);
/* Ends the process that feeds a pipe, when there is one. */
Input *input_free(Input *in);
DEFINE_CLEANUP(Input *, input_free)

/* Whether input_data is all of it. */
bool input_whole(const Input *in);
const Buf *input_data(const Input *in);
/* Bytes in all; 0 when that is not known. */
uint64_t input_size(const Input *in);
/* The last part of its path; NULL for standard input. */
const char *input_name(const Input *in);

/* A descriptor that gives it from its first byte; owned by in. */
int input_fd(Input *in, int *ret_fd);
/* After all was read through the descriptor: -EIO when that was not all. */
int input_finish(Input *in);
