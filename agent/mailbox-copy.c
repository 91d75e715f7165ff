/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Messages as they are stored, out of the inbox and read again: what somebody keeps elsewhere, so that it can
 * be read with a recovery key when the machine is lost. */

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "agent/mailbox-internal.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"

static int duplicate(int fd, int *ret)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

    if (copy < 0)
        return -errno;
    *ret = copy;
    return 0;
}

static void on_copied(int r, const MailHead *head, uint64_t size, void *userdata)
{
    MailboxRequest *q = userdata;

    mailbox_request_detach(q);
    q->copy_done(r, size, q->userdata);
}

int mailbox_copy(Mailbox *b, const char *id, int destination, mailbox_copy_t done, void *userdata,
                 MailboxRequest **ret)
{
    static const Buf nothing = BUF_MAX(0);
    _cleanup_(mailbox_request_freep) MailboxRequest *q = NULL;
    int r;

    r = mailbox_request_alloc(b, &q);
    if (r == 0)
        r = inbox_get(b->inbox, id, &q->row);
    if (r == 0)
        r = mailbox_body_fd(q, &q->source);
    if (r != 0)
        return r;
    q->copy_done = done;
    q->userdata = userdata;
    r = mail_pump_join(b->workers, &nothing, q->source, destination, on_copied, q, &q->pump);
    if (r == 0)
        *ret = TAKE_PTR(q);
    return r;
}

static int on_begin(sd_event_source *source, void *userdata)
{
    MailboxRequest *q = userdata;
    int r = identity_check(q->owner->m->identity);

    q->later = sd_event_source_disable_unref(q->later);
    if (r == 0)
        r = mailbox_open_to_fd(q, q->source);
    if (r != 0)
        mailbox_read_fail(q, r, NULL);
    return 0;
}

int mailbox_read_copy(Mailbox *b, int source, int destination, bool allow_unknown, mailbox_read_t done,
                      void *userdata, MailboxRequest **ret)
{
    _cleanup_(mailbox_request_freep) MailboxRequest *q = NULL;
    int r;

    r = mailbox_request_alloc(b, &q);
    if (r != 0)
        return r;
    q->allow_unknown = allow_unknown;
    q->read_done = done;
    q->userdata = userdata;
    r = duplicate(source, &q->source);
    if (r == 0)
        r = duplicate(destination, &q->destination);
    if (r == 0)
        r = sd_event_add_defer(b->m->event, &q->later, on_begin, q);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(q);
    return 0;
}
