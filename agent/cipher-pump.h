/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to agent/cipher*.c: what the threads of EncryptFd and DecryptFd do. A few threads do the same, each
 * with some chunks: read in turn, encrypt or decrypt, write in turn (agent/lanes.h). */

#include "agent/fd-io.h"
#include "agent/worker.h"
#include "libhmsg/base/buf.h"
#include "libhmsg/wire/stream.h"

typedef struct Pump {
    FdIo in, out;
    StreamWriter *writer;
    StreamReader *reader;
    Buf head;       /* to be written as it is; or the header (or the whole package) that was read */
    bool is_stream; /* what was read, else a package */
    uint8_t prefix[STREAM_PREFIX_SIZE];
    uint64_t total; /* bytes expected; 0: unknown */
    /* Of the content, by pump_open_range: */
    uint64_t offset, length;
    bool to_end;        /* the last chunk was verified */
    const char *detail; /* of an error of pump_open_range; NULL: nothing to say */
    _Atomic uint64_t bytes_in, bytes_out;
    _Atomic uint64_t blocks[STREAM_LANES]; /* that each thread has encrypted or decrypted */
} Pump;

#define PUMP_BEHIND "The range begins behind the end of the content"

/* Duplicates the descriptors. expected: 0: what the source is. */
int pump_new(int source, int destination, uint64_t expected, Pump **ret);
Pump *pump_free(Pump *p);
DEFINE_CLEANUP(Pump *, pump_free)

/* For WorkerTask.run and free_context; context is the Pump. */
int pump_read_head(void *context, int stop_fd);  /* head, is_stream and prefix; TOO_LARGE, BAD_PACKAGE */
int pump_write_head(void *context, int stop_fd); /* all of head */
int pump_seal(void *context, int stop_fd);       /* head, then all of the source by writer */
int pump_open(void *context, int stop_fd);       /* all of the source by reader */
/* offset and length of it, from a file. INVALID_ARGS: offset is behind the (verified) end. */
int pump_open_range(void *context, int stop_fd);
void pump_free_context(void *context);
