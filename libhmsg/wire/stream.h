/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The stream form (docs/protocol.md): header, then C2SP chunked-encryption with AES-256-GCM, then, for
 * several recipients of a signed stream, a JWS trailer. Works on buffers of the caller; constant memory.
 *   header = "hmsgstr1" || u32 size of packages || u32 size of trailer || packages (object or array) */

#include "libhmsg/wire/package.h"

#define STREAM_MAGIC "hmsgstr1"
#define STREAM_SEALED_CHUNK_SIZE (STREAM_CHUNK_SIZE + STREAM_TAG_SIZE)
#define STREAM_PREFIX_SIZE (STREAM_SALT_SIZE + STREAM_COMMITMENT_SIZE)
/* Room that stream_seal needs for n bytes with last. */
#define STREAM_SEALED_SIZE(n) ((n) + ((n) / STREAM_CHUNK_SIZE + 1) * STREAM_TAG_SIZE)
/* Bytes that a reader must be able to hold besides its chunks. */
#define STREAM_HOLD_MAX (STREAM_SEALED_CHUNK_SIZE + STREAM_TRAILER_SIZE_MAX)

/* Threads that may work on one stream at the same time, each in a lane of its own: 0 to STREAM_LANES - 1. */
#define STREAM_LANES 4u

/* Some chunks of a stream, for the thread that has them. */
typedef struct StreamPart {
    uint64_t chunk; /* the number of the first one */
    size_t size;    /* of all, without a trailer */
    bool last;
} StreamPart;

typedef struct StreamWriter StreamWriter;

/* One recipient of a stream: its session and the sequence number that this use takes. */
typedef struct StreamRecipient {
    const WireSession *session;
    uint64_t seq;
} StreamRecipient;

/* Appends header, salt and commitment to ret. All sessions have the same sender or none has one. */
int stream_writer_new(const StreamRecipient *recipients, size_t n, int64_t ts, int64_t exp,
                      StreamWriter **ret, Buf *ret_head);
/* Without last n is a multiple of STREAM_CHUNK_SIZE. out has STREAM_SEALED_SIZE(n), must not overlap in. */
int stream_seal(StreamWriter *w, const void *in, size_t n, bool last, void *out, size_t *ret_size);
/* stream_seal for threads. Each begin in the order of the content, one at a time; each end, over what came
 * out of the part, in the same order, one at a time; the parts, and begin and end of others, at any time. */
int stream_seal_begin(StreamWriter *w, size_t n, bool last, StreamPart *ret);
int stream_seal_part(const StreamWriter *w, unsigned lane, const StreamPart *part, const void *in, void *out,
                     size_t *ret_size);
int stream_seal_end(StreamWriter *w, const StreamPart *part, const void *out, size_t n);
/* After the last chunk: must a trailer be signed? If so prepare, sign, finish (which appends it to ret). */
bool stream_writer_needs_trailer(const StreamWriter *w);
int stream_writer_prepare(StreamWriter *w, JwsDraft *ret);
int stream_writer_finish(StreamWriter *w, const JwsDraft *d, const void *signature, size_t n, Buf *ret);
StreamWriter *stream_writer_free(StreamWriter *w);
DEFINE_CLEANUP(StreamWriter *, stream_writer_free)

/* Of the first STREAM_PREAMBLE_SIZE bytes: the size of the whole header. BAD_PACKAGE, TOO_LARGE. */
int stream_header_size(const uint8_t preamble[static STREAM_PREAMBLE_SIZE], size_t *ret);
/* Is there a signature behind the last chunk? Of a signed stream for several that has none nobody knows which
 * of them made it. */
bool stream_header_has_trailer(const uint8_t preamble[static STREAM_PREAMBLE_SIZE]);
/* Parses the header and finds the package that is ours (like package_find); the caller goes on with the
 * stages of package.h, the last of which is stream_reader_new. */
int stream_header_parse(const void *header, size_t n, const uint8_t (*kids)[KID_SIZE], size_t n_kids,
                        Package **ret, size_t *ret_kid);

typedef struct StreamReader StreamReader;

/* package_open and the stream's keys; keys NULL as there. prefix: the bytes behind the header. A wrong
 * commitment is HMSG_ERROR_AUTHENTICATION_FAILED. */
int stream_reader_new(const void *header, size_t n, const Package *p, const Secret *keys,
                      const uint8_t prefix[static STREAM_PREFIX_SIZE], StreamReader **ret);
/* Bytes that are kept back until the end of the input: a last chunk of at least its tag, and the trailer. */
size_t stream_reader_keep(const StreamReader *r);
/* Of `have` bytes that follow, how many stream_open takes now: whole chunks, or all at the end of the input.
 */
size_t stream_reader_ready(const StreamReader *r, size_t have, bool end);
/* in: exactly what stream_reader_ready said. out has room for n and must not overlap in; all that is written
 * is verified. With end this is the last call: last chunk and trailer; a truncated stream is
 * HMSG_ERROR_AUTHENTICATION_FAILED. */
int stream_open(StreamReader *r, const void *in, size_t n, bool end, void *out, size_t *ret_size);
/* stream_open for threads, in the manner of stream_seal_begin. What a part has written is to be used only
 * when its end returns 0; end takes the result of begin and part, and returns the first error of the stream.
 */
int stream_open_begin(StreamReader *r, size_t n, bool end, StreamPart *ret);
int stream_open_part(const StreamReader *r, unsigned lane, const StreamPart *part, const void *in, void *out,
                     size_t *ret_size);
int stream_open_end(StreamReader *s, const StreamPart *part, const void *in, int r);

/* What stream_open needs of a stream for a range of its content. */
typedef struct StreamSpan {
    uint64_t at, n; /* bytes behind the prefix: where they begin, and how many */
    size_t skip;    /* content in front of the range, which comes out as well */
    uint64_t size;  /* of the range; less than what was asked for where the content ends */
    bool to_end;    /* with the last chunk, which says where the content ends: the last call has end */
    bool behind;    /* the range begins behind the end: an error, once the last chunk is verified */
} StreamSpan;

/* Before the first stream_open: it gets span->n bytes instead of all, whole chunks at a time, without
 * stream_reader_ready. total: bytes behind the prefix. length > 0, UINT64_MAX: to the end. Whether anything
 * is cut off behind the range is not seen, and a trailer is not checked. HMSG_ERROR_AUTHENTICATION_FAILED: a
 * stream of this size has been cut off. */
int stream_reader_seek(StreamReader *r, uint64_t total, uint64_t offset, uint64_t length, StreamSpan *ret);
/* After the end, or of a range: true when the content is by the package's sender and not by another of the
 * recipients. */
bool stream_reader_verified(const StreamReader *r);
StreamReader *stream_reader_free(StreamReader *r);
DEFINE_CLEANUP(StreamReader *, stream_reader_free)
