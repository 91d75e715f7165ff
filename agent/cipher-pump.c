/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "agent/cipher-pump.h"
#include "agent/lanes.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/secret.h"

/* So many that threads seldom wait for each other, and so few that a block stays in the processor's cache. */
#define CHUNKS_AT_ONCE 16u
#define WHOLE_CHUNKS_SIZE (CHUNKS_AT_ONCE * STREAM_SEALED_CHUNK_SIZE)
#define SLOT_SIZE (WHOLE_CHUNKS_SIZE + STREAM_HOLD_MAX)
_Static_assert(STREAM_LANES <= LANES_MAX, "each thread has a lane of the stream");
/* One byte more than is allowed shows that it is too large. */
#define HEAD_SIZE_MAX (PACKAGE_LIST_SIZE_MAX + 1)

int pump_new(int source, int destination, uint64_t expected, Pump **ret)
{
    _cleanup_(pump_freep) Pump *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return -ENOMEM;
    p->in = p->out = FD_IO_NONE;
    p->head = BUF_MAX(HEAD_SIZE_MAX);
    r = fd_io_open(source, false, &p->in);
    if (r == 0)
        r = fd_io_open(destination, true, &p->out);
    if (r < 0)
        return r;
    p->total = expected > 0 ? expected : fd_io_size(&p->in);
    *ret = TAKE_PTR(p);
    return 0;
}

Pump *pump_free(Pump *p)
{
    if (!p)
        return NULL;
    fd_io_done(&p->in);
    fd_io_done(&p->out);
    stream_writer_free(p->writer);
    stream_reader_free(p->reader);
    buf_done(&p->head);
    free(p);
    return NULL;
}

void pump_free_context(void *context)
{
    pump_free(context);
}

/* Reads what is there into data, which has *have bytes and room for size. */
static int read_some(Pump *p, uint8_t *data, size_t *have, size_t size, bool *end, int stop_fd)
{
    ssize_t n = fd_io_read(&p->in, data + *have, size - *have, stop_fd);

    if (n < 0)
        return (int)n;
    *end = n == 0;
    *have += (size_t)n;
    atomic_fetch_add(&p->bytes_in, (uint64_t)n);
    return 0;
}

/* What one thread has in its hands. */
typedef struct Block {
    uint8_t *in, *out; /* SLOT_SIZE each */
    size_t touched;    /* so much of both, at the most */
    StreamPart part;
    size_t size; /* of what is in out */
} Block;

typedef struct Flow {
    Pump *pump;
    StreamSpan span; /* of a range: what is left of it */
    size_t carried;
    uint8_t carry[STREAM_HOLD_MAX]; /* what was read, and belongs to the next block */
} Flow;

static void touch(Block *b, size_t n)
{
    if (b->touched < n)
        b->touched = n;
}

/* At least a whole chunk, or what is left at the end. */
static int take_some(Flow *f, Block *b, size_t room, size_t (*ready)(const Flow *f, size_t have, bool end),
                     size_t *ret_n, bool *ret_end, int stop_fd)
{
    size_t have = f->carried, n = 0;
    bool end = false;
    int r = 0;

    memcpy(b->in, f->carry, have);
    while (r == 0 && n == 0 && !end) {
        r = read_some(f->pump, b->in, &have, room, &end, stop_fd);
        if (r == 0)
            n = ready(f, have, end);
    }
    touch(b, have);
    if (r != 0)
        return r;
    f->carried = have - n;
    memcpy(f->carry, b->in + n, f->carried);
    *ret_n = n;
    *ret_end = end;
    return 0;
}

static size_t seal_ready(const Flow *f, size_t have, bool end)
{
    return end ? have : have / STREAM_CHUNK_SIZE * STREAM_CHUNK_SIZE;
}

static int seal_take(void *context, void *block, bool *ret_end, int stop_fd)
{
    Flow *f = context;
    Block *b = block;
    size_t n = 0;
    int r;

    r = take_some(f, b, CHUNKS_AT_ONCE * STREAM_CHUNK_SIZE, seal_ready, &n, ret_end, stop_fd);
    return r == 0 ? stream_seal_begin(f->pump->writer, n, *ret_end, &b->part) : r;
}

static int seal_work(void *context, void *block, unsigned lane)
{
    const Flow *f = context;
    Block *b = block;

    atomic_fetch_add(&f->pump->blocks[lane], 1);
    return stream_seal_part(f->pump->writer, lane, &b->part, b->in, b->out, &b->size);
}

static int seal_check(void *context, void *block, int result)
{
    const Flow *f = context;
    const Block *b = block;

    return result != 0 ? result : stream_seal_end(f->pump->writer, &b->part, b->out, b->size);
}

static size_t open_ready(const Flow *f, size_t have, bool end)
{
    return stream_reader_ready(f->pump->reader, have, end);
}

static int open_take(void *context, void *block, bool *ret_end, int stop_fd)
{
    Flow *f = context;
    Block *b = block;
    size_t room = WHOLE_CHUNKS_SIZE + stream_reader_keep(f->pump->reader), n = 0;
    int r;

    r = take_some(f, b, room, open_ready, &n, ret_end, stop_fd);
    return r == 0 ? stream_open_begin(f->pump->reader, n, *ret_end, &b->part) : r;
}

static int open_work(void *context, void *block, unsigned lane)
{
    const Flow *f = context;
    Block *b = block;

    atomic_fetch_add(&f->pump->blocks[lane], 1);
    return stream_open_part(f->pump->reader, lane, &b->part, b->in, b->out, &b->size);
}

static int open_check(void *context, void *block, int result)
{
    const Flow *f = context;
    const Block *b = block;

    return stream_open_end(f->pump->reader, &b->part, b->in, result);
}

static int range_take(void *context, void *block, bool *ret_end, int stop_fd)
{
    Flow *f = context;
    Block *b = block;
    size_t n = f->span.n < WHOLE_CHUNKS_SIZE ? (size_t)f->span.n : WHOLE_CHUNKS_SIZE, have = 0;
    bool end = false;
    int r = 0;

    while (r == 0 && have < n && !end)
        r = read_some(f->pump, b->in, &have, n, &end, stop_fd);
    touch(b, have);
    if (r == 0 && end)
        r = HMSG_ERROR_AUTHENTICATION_FAILED; /* it became shorter */
    if (r != 0)
        return r;
    f->span.n -= n;
    *ret_end = f->span.n == 0;
    return stream_open_begin(f->pump->reader, n, f->span.to_end && *ret_end, &b->part);
}

static int give(void *context, void *block, int stop_fd)
{
    const Flow *f = context;
    const Block *b = block;
    int r;

    r = fd_io_write(&f->pump->out, b->out, b->size, stop_fd);
    if (r == 0)
        atomic_fetch_add(&f->pump->bytes_out, b->size);
    return r;
}

/* What of the block lies within the range. */
static int range_give(void *context, void *block, int stop_fd)
{
    Flow *f = context;
    const Block *b = block;
    size_t before = b->size < f->span.skip ? b->size : f->span.skip;
    size_t size = b->size - before < f->span.size ? b->size - before : (size_t)f->span.size;
    int r;

    f->span.skip -= before;
    f->span.size -= size;
    r = fd_io_write(&f->pump->out, b->out + before, size, stop_fd);
    if (r == 0)
        atomic_fetch_add(&f->pump->bytes_out, size);
    return r;
}

/* One thread for each processor, and two where there is but one, since one of them may wait. */
static unsigned count_lanes(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 2;

    return n < 2 ? 2 : (unsigned)n < STREAM_LANES ? (unsigned)n : STREAM_LANES;
}

static int pump_all(Pump *p, const LanesTask *task, const StreamSpan *span, int stop_fd)
{
    unsigned n = count_lanes();
    uint8_t *memory = malloc((size_t)n * 2 * SLOT_SIZE);
    Flow *f = calloc(1, sizeof(*f));
    void *blocks[STREAM_LANES];
    Block b[STREAM_LANES];
    int r = -ENOMEM;

    if (memory && f) {
        f->pump = p;
        f->span = *span;
        for (unsigned i = 0; i < n; i++) {
            uint8_t *in = memory + (size_t)i * 2 * SLOT_SIZE;

            b[i] = (Block){.in = in, .out = in + SLOT_SIZE};
            blocks[i] = &b[i];
        }
        r = lanes_run(task, f, blocks, n, stop_fd);
        for (unsigned i = 0; i < n; i++) {
            bytes_wipe(b[i].in, b[i].touched);
            bytes_wipe(b[i].out, b[i].touched); /* plaintext is never longer than ciphertext */
        }
        bytes_wipe(f, sizeof(*f));
    }
    free(memory);
    free(f);
    return r;
}

int pump_write_head(void *context, int stop_fd)
{
    Pump *p = context;
    int r;

    r = fd_io_write(&p->out, p->head.data, p->head.size, stop_fd);
    if (r == 0)
        atomic_fetch_add(&p->bytes_out, p->head.size);
    buf_clear(&p->head);
    return r;
}

int pump_seal(void *context, int stop_fd)
{
    static const LanesTask task = {.take = seal_take, .work = seal_work, .check = seal_check, .give = give};
    int r;

    r = pump_write_head(context, stop_fd);
    return r < 0 ? r : pump_all(context, &task, &(const StreamSpan){0}, stop_fd);
}

int pump_open(void *context, int stop_fd)
{
    static const LanesTask task = {.take = open_take, .work = open_work, .check = open_check, .give = give};

    return pump_all(context, &task, &(const StreamSpan){0}, stop_fd);
}

int pump_open_range(void *context, int stop_fd)
{
    static const LanesTask task = {
        .take = range_take, .work = open_work, .check = open_check, .give = range_give};
    Pump *p = context;
    StreamSpan span;
    int r;

    r = stream_reader_seek(p->reader, fd_io_size(&p->in), p->offset, p->length, &span);
    if (r == 0)
        r = fd_io_skip(&p->in, span.at);
    if (r != 0)
        return r;
    p->total = atomic_load(&p->bytes_in) + span.n;
    r = pump_all(p, &task, &span, stop_fd);
    if (r == 0 && span.behind) {
        p->detail = PUMP_BEHIND;
        r = HMSG_ERROR_INVALID_ARGS;
    }
    p->to_end = span.to_end;
    return r;
}

/* n bytes more of head, fewer only at the end of the source. */
static int read_head(Pump *p, size_t n, int stop_fd)
{
    bool end = false;
    int r;

    r = buf_reserve(&p->head, n);
    if (r < 0)
        return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
    n += p->head.size;
    while (r == 0 && p->head.size < n && !end)
        r = read_some(p, p->head.data, &p->head.size, n, &end, stop_fd);
    return r;
}

static int read_package(Pump *p, int stop_fd)
{
    size_t before;
    int r;

    do {
        size_t left = HEAD_SIZE_MAX - p->head.size;
        size_t more = p->head.size > 65536u ? p->head.size : 65536u;

        if (left == 0)
            return HMSG_ERROR_TOO_LARGE;
        before = p->head.size;
        r = read_head(p, more < left ? more : left, stop_fd);
    } while (r == 0 && p->head.size > before);
    return r;
}

int pump_read_head(void *context, int stop_fd)
{
    Pump *p = context;
    size_t size = 0;
    int r;

    r = read_head(p, STREAM_PREAMBLE_SIZE, stop_fd);
    if (r != 0)
        return r;
    p->is_stream = wire_format_detect(p->head.data, p->head.size) == FORMAT_STREAM;
    if (!p->is_stream)
        return p->head.size < STREAM_PREAMBLE_SIZE ? 0 : read_package(p, stop_fd);
    if (p->head.size < STREAM_PREAMBLE_SIZE)
        return HMSG_ERROR_BAD_PACKAGE;
    r = stream_header_size(p->head.data, &size);
    if (r == 0)
        r = read_head(p, size - STREAM_PREAMBLE_SIZE + STREAM_PREFIX_SIZE, stop_fd);
    if (r != 0)
        return r;
    if (p->head.size < size + STREAM_PREFIX_SIZE)
        return p->head.size < size ? HMSG_ERROR_BAD_PACKAGE : HMSG_ERROR_AUTHENTICATION_FAILED;
    memcpy(p->prefix, p->head.data + size, STREAM_PREFIX_SIZE);
    buf_truncate(&p->head, size);
    return 0;
}
