/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/mailbox-internal.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

int intake_new(Mailbox *b, intake_done_t done, void *userdata, Intake **ret)
{
    Intake *k = calloc(1, sizeof(*k));

    if (!k)
        return -ENOMEM;
    k->owner = b;
    k->fd = k->stream = -1;
    k->bytes = BUF_MAX(MAIL_PACKAGES_SIZE_MAX);
    k->done = done;
    k->userdata = userdata;
    *ret = k;
    return 0;
}

Intake *intake_free(Intake *k)
{
    Store *store;

    if (!k)
        return NULL;
    store = k->owner->m->store;
    (void)relays_request_free(k->fetch);
    (void)body_hash_free(k->hash);
    (void)contacts_request_free(k->ask);
    (void)cipher_job_free(k->job);
    (void)package_free(k->package);
    (void)fd_close(k->fd);
    (void)fd_close(k->stream);
    /* files that no row took over */
    store_body_remove(store, k->file);
    store_body_remove(store, k->body.file);
    store_body_done(&k->body);
    buf_done(&k->bytes);
    free(k);
    return NULL;
}

void intake_finish(Intake *k, int r, const char *detail)
{
    k->done(k, r, detail && *detail ? detail : error_message(r));
}

static int keep(Intake *k)
{
    int r;

    r = store_body_keep(k->owner->m->store, k->file, k->fd, k->row.size, &k->body);
    if (r != 0)
        return r;
    k->file[0] = 0; /* k->body has it */
    k->fd = fd_close(k->fd);
    return 0;
}

static void on_hashed(int r, const uint8_t *id, const uint8_t *sha256, uint64_t size, void *userdata);

/* The id is made with the kid that the message is for, and that may be a former one, or one that was lost.
 * -ENOENT: no more kids. */
static int try_next_kid(Intake *k)
{
    uint8_t kids[IDENTITY_KIDS_MAX + LOST_KIDS_MAX][KID_SIZE];
    size_t n = identity_kids(k->owner->m->identity, kids);

    n += relays_lost_kids(k->owner->m->relays, kids + n, LOST_KIDS_MAX);
    if (++k->kid >= n)
        return -ENOENT;
    return body_hash_start(k->owner->m->event, kids[k->kid], k->fd, -1, ATTACHMENT_SIZE_MAX, on_hashed, k,
                           &k->hash);
}

/* Courier and relay may have given anything: only what has the id is that message. */
static void on_hashed(int r, const uint8_t *id, const uint8_t *sha256, uint64_t size, void *userdata)
{
    Intake *k = userdata;
    char text[HASH_TEXT_SIZE];

    k->hash = body_hash_free(k->hash);
    if (r == 0) {
        base64url_encode(id, ID_SIZE, text);
        k->row.size = size;
        if (strcmp(text, k->row.id) != 0) {
            r = try_next_kid(k);
            if (r == 0)
                return;
            r = r == -ENOENT ? HMSG_ERROR_AUTHENTICATION_FAILED : r;
        } else
            r = keep(k);
    }
    if (r != 0)
        intake_finish(
            k, r,
            r == HMSG_ERROR_AUTHENTICATION_FAILED ? "The relay gave another body than that of the id" : NULL);
    else
        intake_check(k);
}

/* The courier may have kept its descriptor: what is hashed, checked and stored is a copy that is ours alone.
 */
static int take_over(Intake *k, const uint8_t *kid)
{
    _cleanup_(fd_closep) int given = TAKE_FD(k->fd);
    Store *store = k->owner->m->store;
    int r;

    store_body_remove(store, k->file);
    k->file[0] = 0;
    k->kid = 0;
    r = store_body_create(store, k->file, &k->fd);
    return r == 0 ? body_hash_start(k->owner->m->event, kid, given, k->fd, ATTACHMENT_SIZE_MAX, on_hashed, k,
                                    &k->hash)
                  : r;
}

static void on_fetched(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    Intake *k = userdata;
    const IdentityPublic *p = identity_public(k->owner->m->identity);

    k->fetch = relays_request_free(k->fetch);
    if (r == 0)
        r = p ? take_over(k, p->kid_bytes) : HMSG_ERROR_NO_IDENTITY;
    if (r != 0)
        intake_finish(k, r, detail);
}

/* A relay, or strangers while we are locked, must not fill the disk with what is checked later. */
static int check_room(Intake *k)
{
    bool room = false;
    int r;

    if (k->row.size > ATTACHMENT_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    r = inbox_has_room(k->owner->inbox, &room);
    return r == 0 && !room ? HMSG_ERROR_QUOTA_EXCEEDED : r;
}

void intake_fetch(Intake *k)
{
    int r;

    r = check_room(k);
    if (r == 0)
        r = store_body_create(k->owner->m->store, k->file, &k->fd);
    if (r == 0)
        r = relays_fetch(k->owner->m->relays, k->row.relay, k->row.id, k->fd, on_fetched, k, &k->fetch);
    if (r != 0)
        intake_finish(k, r, NULL);
}
