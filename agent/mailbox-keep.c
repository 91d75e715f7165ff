/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mail that hangs on a former key of ours is encrypted to the key of now, so that it can be read when the
 * former one is gone, and only with the new one: a package to ourselves takes the place of what came, and the
 * row says who sent it. One after the other, each at once: a crash leaves the one body or the other. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/mailbox-internal.h"
#include "agent/seal-keys.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/base/log.h"

#define LOOK_AT_ONCE 8u /* rows, then the loop has its turn */

struct Keeping {
    Mailbox *owner;
    InboxRow row; /* as it will be */
    Intake *from;
    CipherJob *open, *seal;
    bool opened, sealed; /* a stream: both have to end */
    int open_result, seal_result;
    char file[STORE_FILE_NAME_SIZE]; /* that is being filled */
    int fd;
    StoreBody body;
};

Keeping *keeping_free(Keeping *k)
{
    Store *store;

    if (!k)
        return NULL;
    store = k->owner->m->store;
    k->open = cipher_job_free(k->open);
    k->seal = cipher_job_free(k->seal);
    k->from = intake_free(k->from);
    (void)fd_close(k->fd);
    /* files that no row took over */
    store_body_remove(store, k->file);
    store_body_remove(store, k->body.file);
    store_body_done(&k->body);
    free(k);
    return NULL;
}

static void go_on(Mailbox *b);

/* While we are locked that is how it shall be. */
static void not_kept(Mailbox *b, int r)
{
    if (r != HMSG_ERROR_LOCKED)
        log_warning("A message cannot be encrypted to the key of now yet: %s", error_message(r));
    b->keep_failed = true;
}

/* This one is done with, or tried again later. */
static void finish(Keeping *k, int r)
{
    Mailbox *b = k->owner;
    bool gone = false; /* deleted meanwhile */

    if (r == 0) {
        r = inbox_keep(b->inbox, &k->row, &k->body);
        gone = r == HMSG_ERROR_NOT_FOUND;
    }
    if (r == 0)
        b->keep_changed = true;
    else if (r == HMSG_ERROR_BAD_PACKAGE || r == HMSG_ERROR_AUTHENTICATION_FAILED) {
        log_error("A message in the inbox is damaged and cannot be read any more");
        r = inbox_set_kid(b->inbox, &k->row, INBOX_KID_NONE);
    }
    if (r != 0 && !gone)
        not_kept(b, r);
    b->keeping = keeping_free(k);
    go_on(b);
}

/* Of now, with the recovery keys that belong to it. */
static int own_keys(const Keeping *k, SealKeys *ret)
{
    const IdentityPublic *p = identity_public(k->owner->m->identity);
    SealKey key = {.kid = k->row.kid};
    int r;

    key.spki = rsa_key_spki(p->decrypt, &key.spki_size);
    r = seal_keys_add(ret, &key);
    return r == 0 ? seal_keys_add_recovery(ret, &p->recovery) : r;
}

static void on_package(int r, const char *detail, const Buf *packages, size_t n, void *userdata)
{
    _cleanup_(buf_done) Buf joined = BUF_MAX(MAIL_PACKAGES_SIZE_MAX);
    Keeping *k = userdata;

    if (r == 0)
        r = seal_join(packages, n, &joined);
    if (r == 0)
        r = store_body_put(k->owner->m->store, &joined, &k->body);
    k->seal = cipher_job_free(k->seal);
    finish(k, r);
}

static void on_content(int r, const char *detail, const Buf *plaintext, const OpenInfo *info, void *userdata)
{
    static const SealOptions options;
    Keeping *k = userdata;
    SealKeys keys = {0};

    if (r == 0)
        r = own_keys(k, &keys);
    if (r == 0)
        r = cipher_seal(k->owner->m->cipher, keys.keys, keys.n, plaintext->data, plaintext->size, &options,
                        on_package, k, &k->seal);
    k->open = cipher_job_free(k->open); /* and with it plaintext */
    if (r != 0)
        finish(k, r);
}

static int keep_file(Keeping *k)
{
    struct stat st;
    int r;

    if (fstat(k->fd, &st) < 0)
        return -errno;
    r = store_body_keep(k->owner->m->store, k->file, k->fd, (uint64_t)st.st_size, &k->body);
    if (r == 0)
        k->file[0] = 0; /* k->body has it */
    return r;
}

static void stream_progress(Keeping *k)
{
    int r = k->open_result;

    if (!k->opened || !k->sealed)
        return;
    /* when writing failed the reader of it saw a closed pipe, which is not the reason */
    if (r == 0 || r == -EPIPE)
        r = k->seal_result != 0 ? k->seal_result : r;
    finish(k, r == 0 ? keep_file(k) : r);
}

static void on_stream_opened(int r, const char *detail, const OpenInfo *info, void *userdata)
{
    Keeping *k = userdata;

    k->opened = true;
    k->open_result = r;
    k->open = cipher_job_free(k->open);
    stream_progress(k);
}

static void on_stream_sealed(int r, const char *detail, const OpenInfo *info, void *userdata)
{
    Keeping *k = userdata;

    k->sealed = true;
    k->seal_result = r;
    k->seal = cipher_job_free(k->seal);
    stream_progress(k);
}

static int keep_stream(Keeping *k)
{
    static const SealOptions seal;
    const OpenOptions open = {.for_store = true};
    Cipher *cipher = k->owner->m->cipher;
    _cleanup_(fd_closep) int in = -1;
    _cleanup_(fd_closep) int out = -1;
    SealKeys keys = {0};
    int pipe[2];
    int r;

    r = own_keys(k, &keys);
    if (r == 0)
        r = store_body_create(k->owner->m->store, k->file, &k->fd);
    if (r == 0)
        r = mail_pipe(pipe);
    if (r != 0)
        return r;
    in = pipe[1];
    out = pipe[0];
    if (lseek(k->from->stream, 0, SEEK_SET) < 0)
        return -errno;
    r = cipher_seal_fd(cipher, keys.keys, keys.n, out, k->fd, &seal, 0, NULL, on_stream_sealed, k, &k->seal);
    return r == 0 ? cipher_open_fd(cipher, k->from->stream, in, &open, 0, NULL, on_stream_opened, k, &k->open)
                  : r;
}

static int start(Keeping *k)
{
    const OpenOptions options = {.for_store = true};
    Intake *from = k->from;

    if (!k->row.kept) {
        (void)snprintf(k->row.skid, sizeof(k->row.skid), "%s", from->unproven ? "" : from->row.skid);
        k->row.created = from->session_created;
        k->row.sent = from->package->ts;
    }
    return from->stream >= 0 ? keep_stream(k)
                             : cipher_open(k->owner->m->cipher, from->bytes.data, from->bytes.size, &options,
                                           on_content, k, &k->open);
}

/* Nothing of ours opens it: whatever becomes of former keys, it is as it is. */
static bool is_unreadable(int r)
{
    return r == HMSG_ERROR_BAD_PACKAGE || r == HMSG_ERROR_AUTHENTICATION_FAILED ||
           r == HMSG_ERROR_NOT_FOR_US || r == HMSG_ERROR_TOO_LARGE;
}

/* 0: it has been begun, or hangs on the key of now. */
static int look_at(Mailbox *b, const InboxRow *row, const char *kid)
{
    _cleanup_(keeping_freep) Keeping *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return -ENOMEM;
    k->owner = b;
    k->fd = -1;
    k->row = *row;
    r = intake_new(b, NULL, NULL, &k->from);
    if (r != 0)
        return r;
    k->from->row = *row;
    r = intake_identify(k->from);
    if (is_unreadable(r))
        return inbox_set_kid(b->inbox, row, INBOX_KID_NONE);
    if (r == 0 && strcmp(k->from->row.kid, kid) == 0)
        return inbox_set_kid(b->inbox, row, kid);
    (void)snprintf(k->row.kid, sizeof(k->row.kid), "%s", kid);
    if (r == 0)
        r = start(k);
    if (r == 0)
        b->keeping = TAKE_PTR(k);
    return r;
}

/* Nothing of the bodies that were replaced stays in the log. */
static void forget_bodies(Mailbox *b)
{
    if (b->keep_changed && db_checkpoint_try(store_db(b->m->store)) == 0)
        b->keep_changed = false;
}

static int on_turn(sd_event_source *source, void *userdata)
{
    Mailbox *b = userdata;

    b->keep_turn = sd_event_source_disable_unref(b->keep_turn);
    go_on(b);
    return 0;
}

static void end(Mailbox *b)
{
    forget_bodies(b);
    if (b->keep_failed)
        mailbox_try_later(b);
    identity_released(b->m->identity);
    if (b->keep_wanted)
        mailbox_keep(b);
}

static void go_on(Mailbox *b)
{
    const IdentityPublic *own = identity_public(b->m->identity);
    unsigned looked = 0;
    InboxRow row;
    int r = own ? identity_check(b->m->identity) : HMSG_ERROR_NO_IDENTITY;

    if (r != 0) { /* we are told when that is another */
        end(b);
        return;
    }
    while (!b->keeping && looked++ < LOOK_AT_ONCE) {
        r = inbox_next_hanging(b->inbox, own->kid, b->kept, &row);
        if (r != 0) {
            b->keep_failed = b->keep_failed || r != HMSG_ERROR_NOT_FOUND;
            end(b);
            return;
        }
        b->kept = row.serial;
        r = look_at(b, &row, own->kid);
        if (r != 0)
            not_kept(b, r);
    }
    if (!b->keeping && sd_event_add_defer(b->m->event, &b->keep_turn, on_turn, b) < 0) {
        b->keep_failed = true;
        end(b);
    }
}

void mailbox_keep(Mailbox *b)
{
    if (b->keeping || b->keep_turn || b->keep_failed)
        return;
    b->keep_wanted = false;
    b->kept = 0;
    go_on(b);
}
