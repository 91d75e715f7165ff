/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

#include "agent/cipher-pump.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/secret.h"

/* Small enough to stay in the processor's cache between the kernel's copy and ours. */
#define CHUNKS_AT_ONCE 16u
#define WHOLE_CHUNKS_SIZE (CHUNKS_AT_ONCE * STREAM_SEALED_CHUNK_SIZE)
#define SLOT_SIZE (WHOLE_CHUNKS_SIZE + STREAM_HOLD_MAX)
#define SLOTS 4u
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

/* The buffers between the two threads. */
typedef struct Ring {
    Pump *pump;
    int stop_fd;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint8_t *memory; /* SLOTS for the ring and one for what is read */
    size_t sizes[SLOTS];
    unsigned first, filled;
    bool ended;
    int failed; /* of the writing thread */
} Ring;

static uint8_t *ring_slot(const Ring *g, unsigned i)
{
    return g->memory + (size_t)i * SLOT_SIZE;
}

static void ring_fail(Ring *g, int r)
{
    static const uint64_t one = 1;

    pthread_mutex_lock(&g->mutex);
    g->failed = r;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
    /* the other one may be waiting for its source */
    while (write(g->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static void *ring_write(void *userdata)
{
    Ring *g = userdata;
    size_t size;
    int r;

    for (;;) {
        pthread_mutex_lock(&g->mutex);
        while (g->filled == 0 && !g->ended)
            pthread_cond_wait(&g->changed, &g->mutex);
        if (g->filled == 0) {
            pthread_mutex_unlock(&g->mutex);
            return NULL;
        }
        size = g->sizes[g->first];
        pthread_mutex_unlock(&g->mutex);

        r = fd_io_write(&g->pump->out, ring_slot(g, g->first), size, g->stop_fd);
        if (r < 0) {
            ring_fail(g, r);
            return NULL;
        }
        atomic_fetch_add(&g->pump->bytes_out, size);

        pthread_mutex_lock(&g->mutex);
        g->first = (g->first + 1) % SLOTS;
        g->filled--;
        pthread_cond_broadcast(&g->changed);
        pthread_mutex_unlock(&g->mutex);
    }
}

static int ring_start(Ring *g, Pump *p, int stop_fd)
{
    int r;

    *g = (Ring){.pump = p, .stop_fd = stop_fd};
    g->memory = malloc((size_t)SLOT_SIZE * (SLOTS + 1));
    if (!g->memory)
        return -ENOMEM;
    pthread_mutex_init(&g->mutex, NULL);
    pthread_cond_init(&g->changed, NULL);
    r = pthread_create(&g->thread, NULL, ring_write, g);
    if (r != 0) {
        pthread_cond_destroy(&g->changed);
        pthread_mutex_destroy(&g->mutex);
        free(g->memory);
    }
    return -r;
}

/* Waits for an empty one. */
static int ring_get(Ring *g, uint8_t **ret)
{
    int r;

    pthread_mutex_lock(&g->mutex);
    while (g->filled == SLOTS && g->failed == 0)
        pthread_cond_wait(&g->changed, &g->mutex);
    *ret = ring_slot(g, (g->first + g->filled) % SLOTS);
    r = g->failed;
    pthread_mutex_unlock(&g->mutex);
    return r;
}

static void ring_put(Ring *g, size_t size)
{
    if (size == 0)
        return;
    pthread_mutex_lock(&g->mutex);
    g->sizes[(g->first + g->filled) % SLOTS] = size;
    g->filled++;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
}

/* What is in it is still written; what failed first is the answer. */
static int ring_finish(Ring *g, int r)
{
    pthread_mutex_lock(&g->mutex);
    g->ended = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
    (void)pthread_join(g->thread, NULL);
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->mutex);
    bytes_wipe(g->memory, (size_t)SLOT_SIZE * (SLOTS + 1));
    free(g->memory);
    return g->failed != 0 ? g->failed : r;
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

static int seal_some(Ring *g, uint8_t *in, size_t *have, bool end)
{
    size_t n = end ? *have : *have / STREAM_CHUNK_SIZE * STREAM_CHUNK_SIZE, size = 0;
    uint8_t *out;
    int r;

    if (n == 0 && !end)
        return 0;
    r = ring_get(g, &out);
    if (r == 0)
        r = stream_seal(g->pump->writer, in, n, end, out, &size);
    if (r != 0)
        return r;
    ring_put(g, size);
    *have -= n;
    memmove(in, in + n, *have);
    return 0;
}

static int open_some(Ring *g, uint8_t *in, size_t *have, bool end)
{
    size_t n = stream_reader_ready(g->pump->reader, *have, end), size = 0;
    uint8_t *out;
    int r;

    if (n == 0 && !end)
        return 0;
    r = ring_get(g, &out);
    if (r == 0)
        r = stream_open(g->pump->reader, in, n, end, out, &size);
    if (r != 0)
        return r;
    ring_put(g, size);
    *have -= n;
    memmove(in, in + n, *have);
    return 0;
}

static int pump_all(Pump *p, size_t room, int (*some)(Ring *g, uint8_t *in, size_t *have, bool end),
                    int stop_fd)
{
    size_t have = 0;
    bool end = false;
    uint8_t *in;
    Ring g;
    int r;

    r = ring_start(&g, p, stop_fd);
    if (r < 0)
        return r;
    in = ring_slot(&g, SLOTS);
    while (r == 0 && !end) {
        r = read_some(p, in, &have, room, &end, stop_fd);
        if (r == 0)
            r = some(&g, in, &have, end);
    }
    return ring_finish(&g, r);
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
    int r;

    r = pump_write_head(context, stop_fd);
    return r < 0 ? r : pump_all(context, CHUNKS_AT_ONCE * STREAM_CHUNK_SIZE, seal_some, stop_fd);
}

int pump_open(void *context, int stop_fd)
{
    return pump_all(context, SLOT_SIZE, open_some, stop_fd);
}

/* What of data lies within the range; *skip and *left go down to 0. */
static int write_range(Pump *p, const uint8_t *data, size_t n, size_t *skip, uint64_t *left, int stop_fd)
{
    size_t before = n < *skip ? n : *skip;
    size_t size = n - before < *left ? n - before : (size_t)*left;
    int r;

    *skip -= before;
    *left -= size;
    r = fd_io_write(&p->out, data + before, size, stop_fd);
    if (r == 0)
        atomic_fetch_add(&p->bytes_out, size);
    return r;
}

/* memory: room for what is read, and for what comes out of it. */
static int open_span(Pump *p, const StreamSpan *span, uint8_t *memory, int stop_fd)
{
    uint8_t *in = memory, *out = memory + SLOT_SIZE;
    uint64_t left = span->size, unread = span->n;
    size_t skip = span->skip;
    int r = 0;

    while (r == 0 && unread > 0) {
        size_t n = unread < WHOLE_CHUNKS_SIZE ? (size_t)unread : WHOLE_CHUNKS_SIZE, have = 0, size = 0;
        bool end = false;

        while (r == 0 && have < n && !end)
            r = read_some(p, in, &have, n, &end, stop_fd);
        if (r == 0 && end)
            r = HMSG_ERROR_AUTHENTICATION_FAILED; /* it became shorter */
        unread -= n;
        if (r == 0)
            r = stream_open(p->reader, in, n, span->to_end && unread == 0, out, &size);
        if (r == 0)
            r = write_range(p, out, size, &skip, &left, stop_fd);
    }
    return r;
}

int pump_open_range(void *context, int stop_fd)
{
    Pump *p = context;
    StreamSpan span;
    uint8_t *memory;
    int r;

    r = stream_reader_seek(p->reader, fd_io_size(&p->in), p->offset, p->length, &span);
    if (r == 0)
        r = fd_io_skip(&p->in, span.at);
    if (r != 0)
        return r;
    p->total = atomic_load(&p->bytes_in) + span.n;
    memory = malloc(2 * (size_t)SLOT_SIZE);
    if (!memory)
        return -ENOMEM;
    r = open_span(p, &span, memory, stop_fd);
    bytes_wipe(memory, 2 * (size_t)SLOT_SIZE);
    free(memory);
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
