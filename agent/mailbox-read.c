/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <utlist.h>

#include "agent/mailbox-internal.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/wire/stream.h"

int mailbox_request_alloc(Mailbox *b, MailboxRequest **ret)
{
    MailboxRequest *q = calloc(1, sizeof(*q));

    if (!q)
        return -ENOMEM;
    q->owner = b;
    q->destination = q->source = -1;
    DL_APPEND(b->requests, q);
    *ret = q;
    return 0;
}

void mailbox_request_detach(MailboxRequest *q)
{
    if (!q->owner)
        return;
    DL_DELETE(q->owner->requests, q);
    q->later = sd_event_source_disable_unref(q->later);
    q->check = intake_free(q->check);
    q->ask = contacts_request_free(q->ask);
    q->job = cipher_job_free(q->job);
    q->pump = mail_pump_free(q->pump);
    q->owner = NULL;
}

MailboxRequest *mailbox_request_free(MailboxRequest *q)
{
    if (!q)
        return NULL;
    mailbox_request_detach(q);
    (void)fd_close(q->destination);
    (void)fd_close(q->source);
    free(q);
    return NULL;
}

void mailbox_read_fail(MailboxRequest *q, int r, const char *detail)
{
    char text[256];

    (void)snprintf(text, sizeof(text), "%s", detail && *detail ? detail : error_message(r));
    mailbox_request_detach(q);
    q->read_done(r, text, NULL, NULL, 0, NULL, q->userdata);
}

/* The callback may free q, but not before it has used what it is given. */
static void succeed(MailboxRequest *q, const OpenInfo *info, const Buf *content)
{
    if (q->source < 0)
        (void)inbox_mark_read(q->owner->inbox, q->row.id);
    mailbox_request_detach(q);
    q->read_done(0, "", info, &q->head, q->row.received, content, q->userdata);
}

/* The texts of info are the cipher's, and gone when its callback ends. Who sent a kept message was checked
 * when it came, and stands in the row; the body is by us. */
static int keep_info(MailboxRequest *q, const OpenInfo *info)
{
    q->info = *info;
    if (q->row.kept) {
        if (!identity_is_ours(q->owner->m->identity, info->sender_kid))
            return HMSG_ERROR_AUTHENTICATION_FAILED;
        (void)snprintf(q->sender_kid, sizeof(q->sender_kid), "%s", q->row.skid);
        q->info.trusted = q->trust == CONTACT_VERIFIED;
        q->info.verified = q->info.trusted || q->trust == CONTACT_PINNED;
        q->info.timestamp = q->row.sent;
    } else {
        (void)snprintf(q->sender, sizeof(q->sender), "%s", info->sender);
        (void)snprintf(q->sender_kid, sizeof(q->sender_kid), "%s", info->sender_kid);
    }
    (void)snprintf(q->format, sizeof(q->format), "%s", info->format);
    q->info.sender = q->sender;
    q->info.sender_kid = q->sender_kid;
    q->info.format = q->format;
    /* decided at the intake, which is when they count; since then it was opened and has aged */
    q->info.replayed = q->info.expired = false;
    return 0;
}

/* A package, in memory. */
static void on_opened(int r, const char *detail, const Buf *plaintext, const OpenInfo *info, void *userdata)
{
    MailboxRequest *q = userdata;
    _cleanup_(buf_done) Buf content = BUF_MAX(PLAINTEXT_SIZE_MAX);
    size_t begin = 0;

    if (r == 0)
        r = mail_head_parse(plaintext->data ? plaintext->data : (const uint8_t *)"", plaintext->size,
                            &q->head, &begin);
    if (r == -EAGAIN)
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = buf_append(&content, plaintext->data + begin, plaintext->size - begin);
    if (r == 0)
        r = keep_info(q, info);
    if (r != 0) {
        mailbox_read_fail(q, r, detail);
        return;
    }
    succeed(q, &q->info, &content);
}

/* To a descriptor: the cipher writes into a pipe, the pump takes the head off. Both have to end. */
static void fd_progress(MailboxRequest *q)
{
    int r = q->open_result;

    if (!q->opened || !q->pumped)
        return;
    /* when writing failed the cipher saw a closed pipe, which is not the reason */
    if (q->pump_result != 0 && (r == 0 || r == -EPIPE))
        r = q->pump_result;
    if (r != 0) {
        mailbox_read_fail(q, r, r == q->open_result ? q->detail : NULL);
        return;
    }
    q->info.bytes_out = q->written;
    succeed(q, &q->info, NULL);
}

static void on_pumped(int r, const MailHead *head, uint64_t size, void *userdata)
{
    MailboxRequest *q = userdata;

    q->pumped = true;
    q->pump_result = r;
    q->head = *head;
    q->written = size;
    q->pump = mail_pump_free(q->pump);
    fd_progress(q);
}

static void on_fd_opened(int r, const char *detail, const OpenInfo *info, void *userdata)
{
    MailboxRequest *q = userdata;

    if (r == 0)
        r = keep_info(q, info);
    q->opened = true;
    q->open_result = r;
    (void)snprintf(q->detail, sizeof(q->detail), "%s", detail);
    q->job = cipher_job_free(q->job);
    fd_progress(q);
}

int mailbox_open_to_fd(MailboxRequest *q, int source)
{
    OpenOptions options = {.allow_unknown = q->allow_unknown || q->row.kept,
                           .relay = *q->row.relay ? q->row.relay : NULL};
    _cleanup_(fd_closep) int in = -1;
    _cleanup_(fd_closep) int out = -1;
    int pipe[2];
    int r;

    r = mail_pipe(pipe);
    if (r < 0)
        return r;
    in = pipe[1];
    out = pipe[0];
    r = mail_pump_split(q->owner->workers, out, q->destination, on_pumped, q, &q->pump);
    if (r == 0)
        r = cipher_open_fd(q->owner->m->cipher, source, in, &options, q->row.size, NULL, on_fd_opened, q,
                           &q->job);
    return r;
}

static int open_in_memory(MailboxRequest *q, const Buf *package)
{
    OpenOptions options = {.allow_unknown = q->allow_unknown || q->row.kept, .relay = q->row.relay};

    if (wire_format_detect(package->data, package->size) == FORMAT_STREAM)
        return HMSG_ERROR_TOO_LARGE;
    return cipher_open(q->owner->m->cipher, package->data, package->size, &options, on_opened, q, &q->job);
}

static int read_package(int fd, Buf *ret)
{
    uint8_t begin[sizeof(STREAM_MAGIC) - 1];
    int r;

    if (pread(fd, begin, sizeof(begin), 0) == (ssize_t)sizeof(begin) &&
        wire_format_detect(begin, sizeof(begin)) == FORMAT_STREAM)
        return HMSG_ERROR_TOO_LARGE;
    r = file_read_fd(fd, ret);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

static int bytes_to_fd(const Buf *bytes, int *ret)
{
    _cleanup_(fd_closep) int fd = memfd_create("hmsg-mail", MFD_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    r = file_write_fd(fd, bytes->data, bytes->size);
    if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
        r = -errno;
    if (r == 0)
        *ret = TAKE_FD(fd);
    return r;
}

int mailbox_body_fd(MailboxRequest *q, int *ret)
{
    _cleanup_(buf_done) Buf bytes = BUF_MAX(MAIL_PACKAGES_SIZE_MAX);
    _cleanup_(fd_closep) int fd = -1;
    int r = inbox_body(q->owner->inbox, &q->row, &bytes, &fd);

    if (r == 0 && fd < 0)
        r = bytes_to_fd(&bytes, &fd);
    if (r == 0)
        *ret = TAKE_FD(fd);
    return r;
}

static int open_body(MailboxRequest *q)
{
    _cleanup_(buf_done) Buf bytes = BUF_MAX(MAIL_PACKAGES_SIZE_MAX);
    _cleanup_(fd_closep) int fd = -1;
    int r;

    r = inbox_body(q->owner->inbox, &q->row, &bytes, &fd);
    if (r == 0 && q->destination < 0)
        r = fd >= 0 ? read_package(fd, &bytes) : 0;
    if (r != 0)
        return r;
    if (q->destination < 0)
        return open_in_memory(q, &bytes);
    if (fd < 0)
        r = bytes_to_fd(&bytes, &fd);
    return r == 0 ? mailbox_open_to_fd(q, fd) : r;
}

static void refuse(MailboxRequest *q)
{
    if (q->row.reason == REASON_REPLAYED)
        mailbox_read_fail(q, HMSG_ERROR_AUTHENTICATION_FAILED,
                          "This is a copy of a message that was here before");
    else if (q->row.reason == REASON_EXPIRED)
        mailbox_read_fail(q, HMSG_ERROR_AUTHENTICATION_FAILED, "The message had expired when it came");
    else
        mailbox_read_fail(q, q->row.reason > 0 ? q->row.reason : HMSG_ERROR_AUTHENTICATION_FAILED, NULL);
}

static void begin_kept(MailboxRequest *q);

static void go_on(MailboxRequest *q)
{
    bool kept = q->row.kept;
    int r;

    r = identity_check(q->owner->m->identity);
    if (r == 0)
        r = inbox_get(q->owner->inbox, q->row.id, &q->row);
    if (r == 0 && q->row.kept != kept) { /* meanwhile */
        begin_kept(q);
        return;
    }
    if (r == 0)
        r = open_body(q);
    if (r == HMSG_ERROR_TOO_LARGE)
        mailbox_read_fail(q, r, "The message is larger than 1 MiB: read it into a file");
    else if (r != 0)
        mailbox_read_fail(q, r, NULL);
}

static void on_checked(Intake *k, int r, const char *detail)
{
    MailboxRequest *q = k->userdata;

    q->row = k->row;
    if (r == 0 && q->row.state == INBOX_UNCHECKED) {
        r = identity_check(q->owner->m->identity);
        detail = r == 0 ? "No relay that may know the sender can be reached" : "";
        if (r == 0)
            r = HMSG_ERROR_RELAY_UNAVAILABLE;
    }
    (void)snprintf(q->detail, sizeof(q->detail), "%s", r == 0 ? "" : detail);
    q->check = intake_free(q->check);
    mailbox_acknowledge(q->owner, q->row.relay);
    if (r != 0)
        mailbox_read_fail(q, r, q->detail);
    else if (q->row.state == INBOX_QUARANTINED)
        refuse(q);
    else
        go_on(q);
}

static void judge_kept(MailboxRequest *q, int r, const char *detail)
{
    bool known = q->trust == CONTACT_PINNED || q->trust == CONTACT_VERIFIED;

    if (r == HMSG_ERROR_RELAY_UNAVAILABLE && q->allow_unknown)
        r = 0;
    if (r == 0 && !known && (q->trust != CONTACT_NONE || !q->allow_unknown))
        r = HMSG_ERROR_UNTRUSTED;
    if (r == 0)
        go_on(q);
    else
        mailbox_read_fail(q, r, detail);
}

static void on_kept_sender(int r, const char *detail, const Sender *sender, void *userdata)
{
    MailboxRequest *q = userdata;

    if (r == 0) {
        q->trust = sender_trust_at(sender, q->row.created);
        if (*sender->address)
            (void)snprintf(q->sender, sizeof(q->sender), "%s", sender->address);
    }
    (void)snprintf(q->detail, sizeof(q->detail), "%s", r == 0 ? "" : detail);
    q->ask = contacts_request_free(q->ask);
    judge_kept(q, r, q->detail);
}

static void begin_kept(MailboxRequest *q)
{
    int r;

    if (!*q->row.skid) {
        judge_kept(q, 0, "");
        return;
    }
    (void)snprintf(q->sender, sizeof(q->sender), "%s", q->row.skid);
    r = contacts_check_sender(q->owner->m->contacts, q->row.skid, q->row.relay, on_kept_sender, q, &q->ask);
    if (r != 0)
        mailbox_read_fail(q, r, NULL);
}

static int on_begin(sd_event_source *source, void *userdata)
{
    MailboxRequest *q = userdata;
    int r;

    q->later = sd_event_source_disable_unref(q->later);
    if (q->row.kept && (q->row.state != INBOX_QUARANTINED || q->row.reason == HMSG_ERROR_UNTRUSTED)) {
        begin_kept(q);
        return 0;
    }
    if (q->row.state == INBOX_UNCHECKED ||
        (q->row.state == INBOX_QUARANTINED && q->row.reason == HMSG_ERROR_UNTRUSTED)) {
        r = intake_new(q->owner, on_checked, q, &q->check);
        if (r != 0) {
            mailbox_read_fail(q, r, NULL);
            return 0;
        }
        q->check->row = q->row;
        q->check->allow_unknown = q->allow_unknown;
        intake_check(q->check);
    } else if (q->row.state == INBOX_QUARANTINED) {
        refuse(q);
    } else {
        go_on(q);
    }
    return 0;
}

static int begin(Mailbox *b, const char *id, int destination, bool allow_unknown, mailbox_read_t done,
                 void *userdata, MailboxRequest **ret)
{
    _cleanup_(mailbox_request_freep) MailboxRequest *q = NULL;
    int r;

    r = mailbox_request_alloc(b, &q);
    if (r == 0)
        r = inbox_get(b->inbox, id, &q->row);
    if (r != 0)
        return r;
    q->allow_unknown = allow_unknown;
    q->read_done = done;
    q->userdata = userdata;
    if (destination >= 0) {
        q->destination = fcntl(destination, F_DUPFD_CLOEXEC, 3);
        if (q->destination < 0)
            return -errno;
    }
    r = sd_event_add_defer(b->m->event, &q->later, on_begin, q);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(q);
    return 0;
}

int mailbox_read(Mailbox *b, const char *id, bool allow_unknown, mailbox_read_t done, void *userdata,
                 MailboxRequest **ret)
{
    return begin(b, id, -1, allow_unknown, done, userdata, ret);
}

int mailbox_read_fd(Mailbox *b, const char *id, int destination, bool allow_unknown, mailbox_read_t done,
                    void *userdata, MailboxRequest **ret)
{
    return begin(b, id, destination, allow_unknown, done, userdata, ret);
}
