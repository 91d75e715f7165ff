/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>

#include "agent/body-hash.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"

#define CHUNK_SIZE 65536u
#define SLICE_CHUNKS 16u /* 1 MiB, about a millisecond */

struct BodyHash {
    sd_event_source *source;
    Sha256 *id, *body;
    int fd, copy;
    uint64_t size, max;
    body_hash_t done;
    void *userdata;
};

BodyHash *body_hash_free(BodyHash *h)
{
    if (!h)
        return NULL;
    h->source = sd_event_source_disable_unref(h->source);
    (void)sha256_free(h->id);
    (void)sha256_free(h->body);
    (void)fd_close(h->fd);
    free(h);
    return NULL;
}

/* One slice; *ret_end at the end of the file. */
static int hash_slice(BodyHash *h, bool *ret_end)
{
    uint8_t chunk[CHUNK_SIZE];

    for (unsigned i = 0; i < SLICE_CHUNKS; i++) {
        ssize_t n = pread(h->fd, chunk, sizeof(chunk), (off_t)h->size);
        int r;

        if (n < 0)
            return -errno;
        *ret_end = n == 0;
        if (n == 0)
            return 0;
        if ((uint64_t)n > h->max - h->size)
            return HMSG_ERROR_TOO_LARGE;
        r = h->copy < 0 ? 0 : file_write_fd(h->copy, chunk, (size_t)n);
        if (r == 0)
            r = sha256_update(h->id, chunk, (size_t)n);
        if (r == 0)
            r = sha256_update(h->body, chunk, (size_t)n);
        if (r != 0)
            return r;
        h->size += (uint64_t)n;
    }
    return 0;
}

static int on_slice(sd_event_source *source, void *userdata)
{
    BodyHash *h = userdata;
    uint8_t id[ID_SIZE], body[SHA256_SIZE];
    bool end = false;
    int r;

    r = hash_slice(h, &end);
    if (r == 0 && !end)
        return 0;
    if (r == 0)
        r = sha256_final(h->id, id);
    if (r == 0)
        r = sha256_final(h->body, body);
    h->source = sd_event_source_disable_unref(h->source);
    h->done(r, r == 0 ? id : NULL, r == 0 ? body : NULL, h->size, h->userdata);
    return 0;
}

int body_hash_start(sd_event *event, const uint8_t kid[static KID_SIZE], int fd, int copy, uint64_t max,
                    body_hash_t done, void *userdata, BodyHash **ret)
{
    _cleanup_(body_hash_freep) BodyHash *h = calloc(1, sizeof(*h));
    int r;

    if (!h)
        return -ENOMEM;
    h->copy = copy;
    h->max = max;
    h->done = done;
    h->userdata = userdata;
    h->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (h->fd < 0)
        return -errno;
    r = sha256_new(&h->id);
    if (r == 0)
        r = sha256_new(&h->body);
    if (r == 0)
        r = sha256_update(h->id, kid, KID_SIZE);
    if (r == 0)
        r = sd_event_add_defer(event, &h->source, on_slice, h);
    if (r >= 0)
        r = sd_event_source_set_enabled(h->source, SD_EVENT_ON);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(h);
    return 0;
}
