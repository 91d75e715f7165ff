/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the tests of streams share: whole ones in memory, written and read. */

#include "libhmsg/wire/stream.h"
#include "tests/lib/person.h"

#define STREAM_NOW INT64_C(1800000000)
#define STREAM_ROOM (1u << 20)

/* A whole stream of size bytes of plain, for one or two; sender may be NULL. */
Buf stream_make(const TestPerson *sender, const TestPerson *const *to, size_t n, const uint8_t *plain,
                size_t size);
/* The trailer of a stream that has ended, appended to ret. */
void stream_sign(const TestPerson *sender, StreamWriter *w, Buf *ret);
/* Some bytes, to be freed. */
uint8_t *stream_content(size_t n);
/* All up to stream_reader_new; *ret_at: where the chunks begin. */
int stream_begin(const Buf *in, const TestPerson *reader, StreamReader **ret, size_t *ret_at);
/* Reads in pieces of at most step bytes, as a program with a small buffer does. */
int stream_read_all(const Buf *in, const TestPerson *reader, size_t step, Buf *ret, bool *ret_verified);
/* It is refused, by an error that says so, and what came out before is the beginning of plain. */
void stream_expect_refused(const Buf *stream, const TestPerson *reader, const uint8_t *plain, size_t size);
