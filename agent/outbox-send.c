/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From recipients and content to durable rows: resolve, gather, encrypt, name, store. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <utlist.h>

#include "agent/outbox-internal.h"
#include "agent/outbox-targets.h"
#include "agent/seal-keys.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/base/secret.h"

#define DETAIL_SIZE 512u

struct OutboxRequest {
    OutboxRequest *prev, *next;
    Outbox *owner; /* NULL: finished */
    char id[HASH_TEXT_SIZE];
    OutboxTargets *resolution;
    OutboxTarget *targets; /* of it */
    OutboxRow *rows;
    StoreBody *bodies;
    size_t n;
    SealOptions seal;
    Buf plaintext; /* head and content; all of it, or what comes before the rest of source */
    int source;    /* -1: none, or at its end */
    bool large, sealed, pumped;
    int seal_result, pump_result;
    char file[STORE_FILE_NAME_SIZE];
    int fd;
    uint64_t expected;
    size_t hashed;
    sd_event_source *later;
    CipherJob *job;
    MailPump *pump;
    BodyHash *hash;
    char detail[DETAIL_SIZE];
    outbox_progress_t progress;
    outbox_sent_t done;
    void *userdata;
};

void outbox_request_detach(OutboxRequest *q)
{
    Store *store;

    if (!q->owner)
        return;
    store = q->owner->m->store;
    DL_DELETE(q->owner->requests, q);
    q->owner = NULL;
    q->later = sd_event_source_disable_unref(q->later);
    outbox_targets_stop(q->resolution);
    q->job = cipher_job_free(q->job);
    q->pump = mail_pump_free(q->pump);
    q->hash = body_hash_free(q->hash);
    /* files that no row took over */
    store_body_remove(store, q->file);
    for (size_t i = 0; i < q->n && q->bodies; i++)
        store_body_remove(store, q->bodies[i].file);
}

OutboxRequest *outbox_request_free(OutboxRequest *q)
{
    if (!q)
        return NULL;
    outbox_request_detach(q);
    for (size_t i = 0; i < q->n && q->bodies; i++)
        store_body_done(&q->bodies[i]);
    (void)outbox_targets_free(q->resolution);
    free(q->rows);
    free(q->bodies);
    buf_done(&q->plaintext);
    (void)fd_close(q->source);
    (void)fd_close(q->fd);
    free(q);
    return NULL;
}

static void finish(OutboxRequest *q, int r, const char *detail)
{
    char text[DETAIL_SIZE], id[HASH_TEXT_SIZE];

    (void)snprintf(text, sizeof(text), "%s", r == 0 ? "" : detail && *detail ? detail : error_message(r));
    (void)snprintf(id, sizeof(id), "%s", q->id);
    outbox_request_detach(q);
    q->done(r, text, r == 0 ? id : NULL, q->userdata);
}

/* Durable: from here on the client may leave. */
static int store_all(OutboxRequest *q)
{
    Outbox *o = q->owner;
    int r;

    r = outbox_store_add(o->store, q->rows, q->bodies, q->n);
    if (r != 0)
        return r;
    for (size_t i = 0; i < q->n; i++)
        outbox_emit_state(o, &q->rows[i]);
    finish(q, 0, NULL);
    outbox_pump(o);
    return 0;
}

static void fill_row(OutboxRequest *q, size_t i, const uint8_t *id, const uint8_t *sha256, uint64_t size)
{
    OutboxRow *row = &q->rows[i];
    const OutboxTarget *t = &q->targets[i];

    *row = (OutboxRow){.state = OUTBOX_QUEUED, .queued = clock_realtime(), .size = size};
    row->expires = row->queued + (int64_t)q->seal.expires_in;
    memcpy(row->id, q->id, sizeof(row->id));
    memcpy(row->kid, t->kid, sizeof(row->kid));
    memcpy(row->recipient, t->recipient, sizeof(row->recipient));
    memcpy(row->relay, t->relay, sizeof(row->relay));
    memcpy(row->body_sha256, sha256, SHA256_SIZE);
    base64url_encode(id, ID_SIZE, row->message);
}

/* The body for one recipient: the package for its own key, and those for its recovery keys. */
static int put_body(OutboxRequest *q, size_t i, const Buf *packages)
{
    _cleanup_(buf_done) Buf joined = BUF_MAX(MAIL_PACKAGES_SIZE_MAX);
    uint8_t kid[KID_SIZE], id[ID_SIZE], sha256[SHA256_SIZE];
    int r = seal_join(packages, q->targets[i].n_packages, &joined);

    if (r == 0)
        r = base64url_decode_exact(q->targets[i].kid, HASH_TEXT_SIZE - 1, kid, KID_SIZE);
    if (r == 0)
        r = message_id(kid, joined.data, joined.size, id);
    if (r == 0)
        r = crypto_sha256(joined.data, joined.size, sha256);
    if (r == 0)
        r = store_body_put(q->owner->m->store, &joined, &q->bodies[i]);
    if (r == 0)
        fill_row(q, i, id, sha256, joined.size);
    return r;
}

static void on_packages(int r, const char *detail, const Buf *packages, size_t n, void *userdata)
{
    OutboxRequest *q = userdata;
    size_t next = 0;

    (void)snprintf(q->detail, sizeof(q->detail), "%s", detail);
    for (size_t i = 0; i < q->n && r == 0; i++) {
        r = next + q->targets[i].n_packages <= n ? put_body(q, i, packages + next) : -EINVAL;
        next += q->targets[i].n_packages;
    }
    q->job = cipher_job_free(q->job);
    if (r == 0)
        r = store_all(q);
    if (r != 0)
        finish(q, r, q->detail);
}

static int hash_next(OutboxRequest *q);

static void on_hashed(int r, const uint8_t *id, const uint8_t *sha256, uint64_t size, void *userdata)
{
    OutboxRequest *q = userdata;

    q->hash = body_hash_free(q->hash);
    if (r == 0) {
        fill_row(q, q->hashed, id, sha256, size);
        q->hashed++;
        r = hash_next(q);
    }
    if (r != 0)
        finish(q, r, NULL);
}

/* All have the same stream; its id is another for each recipient. */
static int hash_next(OutboxRequest *q)
{
    uint8_t kid[KID_SIZE];
    int r;

    if (q->hashed == q->n)
        return store_all(q);
    r = base64url_decode_exact(q->targets[q->hashed].kid, HASH_TEXT_SIZE - 1, kid, KID_SIZE);
    return r == 0 ? body_hash_start(q->owner->m->event, kid, q->fd, -1, UINT64_MAX, on_hashed, q, &q->hash)
                  : r;
}

static int keep_stream(OutboxRequest *q)
{
    Store *store = q->owner->m->store;
    struct stat st;
    int r = 0;

    if (fstat(q->fd, &st) < 0)
        return -errno;
    if ((uint64_t)st.st_size > ATTACHMENT_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    r = store_body_keep(store, q->file, q->fd, (uint64_t)st.st_size, &q->bodies[0]);
    if (r != 0)
        return r;
    q->file[0] = 0; /* bodies[0] has it */
    for (size_t i = 1; i < q->n && r == 0; i++)
        r = store_body_link(store, q->bodies[0].file, q->bodies[i].file);
    return r == 0 ? hash_next(q) : r;
}

static void stream_progress(OutboxRequest *q)
{
    int r = q->seal_result;

    if (!q->sealed || !q->pumped)
        return;
    /* a source that cannot be read is more than the stream that ends there */
    if (r == 0 || r == -EPIPE)
        r = q->pump_result == -EPIPE && r == 0 ? 0 : q->pump_result;
    if (r == 0)
        r = keep_stream(q);
    if (r != 0)
        finish(q, r, r == q->seal_result ? q->detail : NULL);
}

static void on_stream_sealed(int r, const char *detail, const OpenInfo *info, void *userdata)
{
    OutboxRequest *q = userdata;

    q->sealed = true;
    q->seal_result = r;
    (void)snprintf(q->detail, sizeof(q->detail), "%s", detail);
    q->job = cipher_job_free(q->job);
    stream_progress(q);
}

static void on_stream_pumped(int r, const MailHead *head, uint64_t size, void *userdata)
{
    OutboxRequest *q = userdata;

    q->pumped = true;
    q->pump_result = r;
    q->pump = mail_pump_free(q->pump);
    stream_progress(q);
}

static void on_progress(uint64_t done, uint64_t total, void *userdata)
{
    OutboxRequest *q = userdata;

    if (done > ATTACHMENT_SIZE_MAX)
        finish(q, HMSG_ERROR_TOO_LARGE, NULL);
    else if (q->progress)
        q->progress(done, q->expected, q->userdata);
}

/* The keys of one recipient, its own first. */
static int add_keys(const OutboxTarget *t, SealKeys *ret)
{
    const SealKey own = {.kid = t->kid, .spki = t->spki.data, .spki_size = t->spki.size};
    int r = seal_keys_add(ret, &own);

    return r == 0 ? seal_keys_add_recovery(ret, &t->recovery) : r;
}

/* Of a stream, which all get: each key once. */
static int stream_keys(const OutboxRequest *q, SealKeys *ret)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < q->n; i++)
        r = add_keys(&q->targets[i], ret);
    return r;
}

/* Of packages: each recipient gets those for its own keys, whoever else has the same recovery key. */
static int package_keys(OutboxRequest *q, SealKeys *ret)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < q->n; i++) {
        SealKeys *one = calloc(1, sizeof(*one));

        r = one ? add_keys(&q->targets[i], one) : -ENOMEM;
        for (size_t k = 0; r == 0 && k < one->n; k++)
            r = seal_keys_append(ret, &one->keys[k]);
        if (r == 0)
            q->targets[i].n_packages = one->n;
        free(one);
    }
    return r;
}

/* The pump gives the head, what was gathered and the rest of the source; the cipher reads from it. */
static int seal_stream(OutboxRequest *q)
{
    Manager *m = q->owner->m;
    SealKeys keys = {0};
    _cleanup_(fd_closep) int in = -1;
    _cleanup_(fd_closep) int out = -1;
    _cleanup_(fd_closep) int nothing = -1;
    int pipe[2];
    int r;

    r = stream_keys(q, &keys);
    if (r != 0)
        return r;
    if (q->source < 0) {
        nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (nothing < 0)
            return -errno;
    }
    r = store_body_create(m->store, q->file, &q->fd);
    if (r == 0)
        r = mail_pipe(pipe);
    if (r != 0)
        return r;
    in = pipe[1];
    out = pipe[0];
    r = mail_pump_join(q->owner->workers, &q->plaintext, q->source < 0 ? nothing : q->source, in,
                       on_stream_pumped, q, &q->pump);
    if (r == 0)
        r = cipher_seal_fd(m->cipher, keys.keys, keys.n, out, q->fd, &q->seal, q->expected, on_progress,
                           on_stream_sealed, q, &q->job);
    buf_clear(&q->plaintext);
    return r;
}

static int seal(OutboxRequest *q)
{
    SealKeys keys = {0};
    int r;

    if (q->large)
        return seal_stream(q);
    r = package_keys(q, &keys);
    return r == 0 ? cipher_seal(q->owner->m->cipher, keys.keys, keys.n, q->plaintext.data, q->plaintext.size,
                                &q->seal, on_packages, q, &q->job)
                  : r;
}

static void on_gathered(int r, Buf *content, bool end, void *userdata)
{
    OutboxRequest *q = userdata;

    q->pump = mail_pump_free(q->pump);
    if (r == 0)
        r = buf_append(&q->plaintext, content->data, content->size);
    if (r == 0) {
        if (end)
            q->source = fd_close(q->source);
        q->large = !end || q->plaintext.size > PLAINTEXT_SIZE_MAX;
        r = seal(q);
    }
    if (r != 0)
        finish(q, r, NULL);
}

/* Up to what a package holds; if there is more it becomes a stream. In a thread: also a file may keep us
 * waiting, on a network or of another program's making. */
static int gather(OutboxRequest *q)
{
    struct stat st;

    if (q->source < 0)
        return seal(q);
    if (fstat(q->source, &st) < 0)
        return -errno;
    if (S_ISREG(st.st_mode)) {
        q->expected = (uint64_t)st.st_size;
        if (q->expected > ATTACHMENT_SIZE_MAX)
            return HMSG_ERROR_TOO_LARGE;
    }
    return mail_pump_gather(q->owner->workers, q->source, PLAINTEXT_SIZE_MAX + 1, on_gathered, q, &q->pump);
}

static void on_targets(int r, const char *detail, void *userdata)
{
    OutboxRequest *q = userdata;

    (void)snprintf(q->detail, sizeof(q->detail), "%s", detail);
    if (r == 0) {
        size_t n = 0;

        q->targets = outbox_targets_get(q->resolution, &n);
        q->rows = calloc(n, sizeof(*q->rows));
        q->bodies = calloc(n, sizeof(*q->bodies));
        r = q->rows && q->bodies ? 0 : -ENOMEM;
        q->n = r == 0 ? n : 0;
    }
    if (r == 0)
        r = gather(q);
    if (r != 0)
        finish(q, r, q->detail);
}

static int on_begin(sd_event_source *source, void *userdata)
{
    OutboxRequest *q = userdata;
    int r;

    q->later = sd_event_source_disable_unref(q->later);
    r = outbox_targets_start(q->resolution, on_targets, q);
    if (r != 0)
        finish(q, r, NULL);
    return 0;
}

static int request_new(Outbox *o, const OutboxSend *what, size_t content, outbox_sent_t done, void *userdata,
                       OutboxRequest **ret)
{
    _cleanup_(outbox_request_freep) OutboxRequest *q = calloc(1, sizeof(*q));
    uint8_t id[ID_SIZE];
    int r;

    if (!q)
        return -ENOMEM;
    q->source = q->fd = -1;
    q->owner = o;
    q->done = done;
    q->userdata = userdata;
    q->plaintext = BUF_MAX(MAIL_PREAMBLE_SIZE + MAIL_HEAD_SIZE_MAX + content);
    DL_APPEND(o->requests, q);
    if (what->expires_in > PACKAGE_EXPIRY_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    q->seal.expires_in = what->expires_in > 0 ? what->expires_in : PACKAGE_EXPIRY_MAX;
    q->seal.fresh = what->fresh;
    r = outbox_targets_new(o->m->contacts, what->recipients, what->n, what->trust_relay, &q->resolution);
    if (r == 0)
        r = crypto_random(id, sizeof(id));
    if (r == 0)
        r = mail_head_build(what->subject, what->file_name, &q->plaintext);
    if (r != 0)
        return r;
    base64url_encode(id, ID_SIZE, q->id);
    *ret = TAKE_PTR(q);
    return 0;
}

static int begin(OutboxRequest *q, OutboxRequest **ret)
{
    int r;

    r = sd_event_add_defer(q->owner->m->event, &q->later, on_begin, q);
    if (r < 0)
        return r;
    *ret = q;
    return 0;
}

int outbox_send(Outbox *o, const OutboxSend *what, const void *content, size_t size, outbox_sent_t done,
                void *userdata, OutboxRequest **ret)
{
    _cleanup_(outbox_request_freep) OutboxRequest *q = NULL;
    int r;

    if (size > ATTACHMENT_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    r = request_new(o, what, size, done, userdata, &q);
    if (r == 0)
        r = buf_append(&q->plaintext, content, size);
    if (r != 0)
        return r;
    q->large = q->plaintext.size > PLAINTEXT_SIZE_MAX;
    r = begin(q, ret);
    if (r == 0)
        (void)TAKE_PTR(q);
    return r;
}

int outbox_send_fd(Outbox *o, const OutboxSend *what, int source, outbox_progress_t progress,
                   outbox_sent_t done, void *userdata, OutboxRequest **ret)
{
    _cleanup_(outbox_request_freep) OutboxRequest *q = NULL;
    int r;

    r = request_new(o, what, PLAINTEXT_SIZE_MAX + 1, done, userdata, &q);
    if (r != 0)
        return r;
    q->progress = progress;
    q->source = fcntl(source, F_DUPFD_CLOEXEC, 3);
    if (q->source < 0)
        return -errno;
    r = begin(q, ret);
    if (r == 0)
        (void)TAKE_PTR(q);
    return r;
}
