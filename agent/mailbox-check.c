/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The checks of a message, in the order of docs/protocol.md: shape, recipient, the statement's signature, is
 * the sender known, replay and expiry, and only then the TPM. */

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <string.h>

#include "agent/mailbox-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/base/log.h"
#include "libhmsg/wire/stream.h"

static void make_seen(const Intake *k, InboxSeen *ret)
{
    *ret = (InboxSeen){.skid = k->package && k->package->has_sender ? k->row.skid : NULL};
    if (!ret->skid)
        return;
    ret->sid = k->package->sid;
    ret->seq = k->package->seq;
    ret->session_expires = k->session_expires;
}

/* Another check of the same row, or another copy of the message, may have been quicker. */
static int settled_already(Intake *k, InboxSeen *seen, bool *ret)
{
    InboxRow now;
    bool replayed = false;
    int r;

    if (k->row.serial != 0) {
        r = inbox_get(k->owner->inbox, k->row.id, &now);
        if (r != 0)
            return r;
        *ret = now.state != INBOX_UNCHECKED && now.state != INBOX_QUARANTINED;
        if (*ret)
            k->row = now;
        if (*ret)
            return 0;
    }
    if (k->row.state != INBOX_NEW)
        return 0;
    r = inbox_seen(k->owner->inbox, seen, &replayed);
    if (r == 0 && replayed) {
        k->row.state = INBOX_QUARANTINED;
        k->row.reason = REASON_REPLAYED;
    }
    return r;
}

/* Durable from here on. */
static void settle(Intake *k, InboxState state, InboxAcknowledge acknowledge, int reason)
{
    Mailbox *b = k->owner;
    bool fresh = k->row.serial == 0, already = false;
    InboxRow before = k->row;
    InboxSeen seen;
    int r;

    make_seen(k, &seen);
    k->row.state = state;
    k->row.acknowledge = acknowledge;
    k->row.reason = reason;
    r = settled_already(k, &seen, &already);
    if (r == 0 && !already)
        r = inbox_put(b->inbox, &k->row, &k->body, k->row.state == INBOX_NEW ? &seen : NULL);
    if (r == HMSG_ERROR_ALREADY_EXISTS && fresh)
        r = inbox_get(b->inbox, k->row.id, &k->row);
    else if (r == 0 && fresh && k->row.state != INBOX_QUARANTINED)
        (void)manager_emit(b->m, AGENT_MAIL_INTERFACE, "Received", "s", k->row.id);
    if (r == 0 && !already && k->row.state == INBOX_QUARANTINED)
        log_info("A message is in quarantine: %s", k->row.reason == REASON_REPLAYED ? "it was here before"
                                                   : k->row.reason == REASON_EXPIRED
                                                       ? "it has expired"
                                                       : error_message(k->row.reason));
    if (r != 0)
        k->row = before;
    intake_finish(k, r, NULL);
}

static void quarantine(Intake *k, int reason)
{
    settle(k, INBOX_QUARANTINED, INBOX_ACK_DUE, reason);
}

/* What r means for the message. */
static void conclude(Intake *k, int r)
{
    switch (r) {
    case 0:
        settle(k, INBOX_NEW, INBOX_ACK_DUE, 0);
        return;
    case HMSG_ERROR_BAD_PACKAGE:
    case HMSG_ERROR_AUTHENTICATION_FAILED:
    case HMSG_ERROR_NOT_FOR_US:
    case HMSG_ERROR_TOO_LARGE:
    case HMSG_ERROR_UNTRUSTED:
    case REASON_REPLAYED:
    case REASON_EXPIRED:
        quarantine(k, r);
        return;
    case HMSG_ERROR_LOCKED:
    case HMSG_ERROR_RELAY_UNAVAILABLE:
        settle(k, INBOX_UNCHECKED, INBOX_ACK_DUE, 0);
        return;
    default:
        /* the TPM or this machine failed: the relay keeps its copy until we know */
        settle(k, INBOX_UNCHECKED, INBOX_ACK_HELD, 0);
        return;
    }
}

static void on_package_opened(int r, const char *detail, const Buf *plaintext, const OpenInfo *info,
                              void *userdata)
{
    Intake *k = userdata;
    MailHead head;
    size_t size;

    if (r == 0 && mail_head_parse(plaintext->data ? plaintext->data : (const uint8_t *)"", plaintext->size,
                                  &head, &size) != 0)
        r = HMSG_ERROR_BAD_PACKAGE;
    k->job = cipher_job_free(k->job); /* and with it plaintext */
    conclude(k, r);
}

static void on_stream_opened(int r, const char *detail, const OpenInfo *info, void *userdata)
{
    Intake *k = userdata;

    k->job = cipher_job_free(k->job);
    conclude(k, r);
}

/* The whole stream is verified before it counts as received; its content goes nowhere. */
static int open_stream(Intake *k, const OpenOptions *options)
{
    _cleanup_(fd_closep) int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

    if (nowhere < 0)
        return -errno;
    if (lseek(k->stream, 0, SEEK_SET) < 0)
        return -errno;
    return cipher_open_fd(k->owner->m->cipher, k->stream, nowhere, options, k->row.size, NULL,
                          on_stream_opened, k, &k->job);
}

static int check_window(Intake *k)
{
    const Package *p = k->package;
    bool replayed = false;
    InboxSeen seen;
    int r;

    make_seen(k, &seen);
    r = inbox_seen(k->owner->inbox, &seen, &replayed);
    if (r != 0)
        return r;
    if (replayed)
        return REASON_REPLAYED;
    if (p->exp == 0) /* that is a file's */
        return HMSG_ERROR_BAD_PACKAGE;
    return k->row.received > p->exp ? REASON_EXPIRED : 0;
}

/* The sender is one we take mail from. */
static void go_on(Intake *k)
{
    OpenOptions options = {.allow_unknown = k->allow_unknown, .relay = k->row.relay};
    int r;

    r = check_window(k);
    if (r == 0)
        r = identity_check(k->owner->m->identity);
    if (r == 0)
        r = k->stream >= 0 ? open_stream(k, &options)
                           : cipher_open(k->owner->m->cipher, k->bytes.data, k->bytes.size, &options,
                                         on_package_opened, k, &k->job);
    if (r != 0)
        conclude(k, r);
}

static void on_sender(int r, const char *detail, const Sender *sender, void *userdata)
{
    Intake *k = userdata;
    ContactTrust trust = CONTACT_NONE;
    bool ok;

    if (r == 0)
        trust = sender_trust_at(sender, k->session_created);
    ok = trust == CONTACT_PINNED || trust == CONTACT_VERIFIED || (trust == CONTACT_NONE && k->allow_unknown);
    k->ask = contacts_request_free(k->ask);
    if (r == 0 && ok)
        go_on(k);
    else
        conclude(k, r != 0 ? r : HMSG_ERROR_UNTRUSTED);
}

static int read_exactly(int fd, void *ret, size_t n)
{
    ssize_t got = pread(fd, ret, n, 0);

    if (got < 0)
        return -errno;
    return (size_t)got == n ? 0 : HMSG_ERROR_BAD_PACKAGE;
}

static int parse_stream(Intake *k, const uint8_t (*kids)[KID_SIZE], size_t n_kids)
{
    uint8_t preamble[STREAM_PREAMBLE_SIZE];
    _cleanup_(freep) uint8_t *header = NULL;
    size_t size = 0, which = 0;
    int r;

    r = read_exactly(k->stream, preamble, sizeof(preamble));
    if (r == 0)
        r = stream_header_size(preamble, &size);
    if (r != 0)
        return r;
    header = malloc(size);
    if (!header)
        return -ENOMEM;
    r = read_exactly(k->stream, header, size);
    r = stream_header_parse(header, size, kids, n_kids, &k->package, &which);
    if (r == 0)
        k->unproven = k->package->recipients > 1 && !stream_header_has_trailer(header);
    return r;
}

/* A file is a stream, or a package that is too large for a row. */
static int load(Intake *k)
{
    _cleanup_(fd_closep) int fd = -1;
    uint8_t begin[sizeof(STREAM_MAGIC) - 1];
    int r = 0;

    buf_clear(&k->bytes);
    if (k->row.serial != 0)
        r = inbox_body(k->owner->inbox, &k->row, &k->bytes, &fd);
    else if (*k->body.file)
        r = store_body_open(k->owner->m->store, k->body.file, &fd);
    else
        r = buf_append(&k->bytes, k->body.bytes.data, k->body.bytes.size);
    if (r != 0)
        return r;
    if (fd < 0 && wire_format_detect(k->bytes.data, k->bytes.size) == FORMAT_STREAM) {
        /* a small stream lies in a row: give it a descriptor that is only memory */
        fd = memfd_create("hmsg-mail", MFD_CLOEXEC);
        if (fd < 0)
            return -errno;
        r = file_write_fd(fd, k->bytes.data, k->bytes.size);
    }
    if (fd < 0 || r != 0)
        return r;
    r = read_exactly(fd, begin, sizeof(begin));
    if (r == 0 && wire_format_detect(begin, sizeof(begin)) == FORMAT_STREAM) {
        (void)fd_close(k->stream);
        k->stream = TAKE_FD(fd);
        return 0;
    }
    if (r == 0)
        r = file_read_fd(fd, &k->bytes);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

static int parse(Intake *k)
{
    uint8_t kids[IDENTITY_KIDS_MAX][KID_SIZE];
    size_t n_kids = identity_kids(k->owner->m->identity, kids), index = 0;
    SessionStatement statement = {0};
    int r;

    if (n_kids == 0)
        return HMSG_ERROR_NO_IDENTITY;
    k->package = package_free(k->package);
    if (k->stream >= 0)
        r = parse_stream(k, (const uint8_t(*)[KID_SIZE])kids, n_kids);
    else
        r = package_find((const char *)k->bytes.data, k->bytes.size, PACKAGE_MESSAGE,
                         (const uint8_t(*)[KID_SIZE])kids, n_kids, &k->package, &index);
    if (r == 0) {
        base64url_encode(k->package->kid, KID_SIZE, k->row.kid);
        r = package_check_sender(k->package, NULL, &statement);
    }
    if (r != 0)
        return r;
    k->session_created = statement.created;
    k->session_expires = statement.expires;
    if (k->package->has_sender)
        base64url_encode(k->package->skid, KID_SIZE, k->row.skid);
    return 0;
}

int intake_identify(Intake *k)
{
    int r = load(k);

    return r == 0 ? parse(k) : r;
}

void intake_check(Intake *k)
{
    int r;

    r = load(k);
    if (r < 0) {
        intake_finish(k, r, NULL); /* as it was: nothing is known of it */
        return;
    }
    if (r == 0)
        r = parse(k);
    if (r == 0 && !k->package->has_sender && !k->allow_unknown)
        r = HMSG_ERROR_UNTRUSTED;
    if (r != 0) {
        conclude(k, r);
        return;
    }
    if (!k->package->has_sender) {
        go_on(k);
        return;
    }
    r = contacts_check_sender(k->owner->m->contacts, k->row.skid, k->row.relay, on_sender, k, &k->ask);
    if (r != 0)
        conclude(k, r);
}
