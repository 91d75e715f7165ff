/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "agent/info-bus.h"
#include "agent/mail-bus-internal.h"
#include "agent/unlocker.h"
#include "libhmsg/base/error.h"

/* id NULL: of a copy, of which it is not known when it came. */
static int append_info(sd_bus_message *m, const char *id, const OpenInfo *info, const MailHead *head,
                       int64_t received, bool counts)
{
    int r;

    r = sd_bus_message_open_container(m, 'a', "{sv}");
    if (r >= 0)
        r = bus_append_open_info(m, info, counts);
    if (r >= 0 && id)
        r = bus_append_string(m, "id", id);
    if (r >= 0)
        r = bus_append_string(m, "subject", head->subject);
    if (r >= 0)
        r = bus_append_string(m, "file_name", head->file_name);
    if (r >= 0 && id)
        r = bus_append_u64(m, "received", (uint64_t)received);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static void on_read(int r, const char *detail, const OpenInfo *info, const MailHead *head, int64_t received,
                    const Buf *content, void *userdata)
{
    _cleanup_(mail_call_freep) MailCall *c = userdata;
    sd_bus_message *reply = NULL;

    if (r != 0) {
        (void)request_fail(c->request, r, detail);
        return;
    }
    r = request_reply_new(c->request, &reply);
    if (r >= 0)
        (void)sd_bus_message_sensitive(reply);
    if (r >= 0 && content)
        r = sd_bus_message_append_array(reply, 'y', buf_text(content), content->size);
    if (r >= 0)
        r = append_info(reply, c->id, info, head, received, !content);
    mail_call_answer(c, reply, r);
}

/* Nobody is asked for what is not there. */
static bool unlock_first_of(Manager *m, sd_bus_message *message, const char *id)
{
    InboxRow row;

    return inbox_get(mailbox_inbox(m->mailbox), id, &row) == 0 && unlock_first(m, message);
}

int mail_method_read(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption names[] = {MAIL_OPTION(allow_unknown, 'b')};
    _cleanup_(mail_call_freep) MailCall *c = NULL;
    Manager *m = userdata;
    const char *id;
    MailOptions o = {0};
    int r;

    r = sd_bus_message_read_basic(message, 's', &id);
    if (r >= 0)
        r = mail_options_read(message, names, ELEMENTSOF(names), &o, error);
    if (r == 0 && unlock_first_of(m, message, id))
        return 1;
    if (r == 0)
        r = mail_call_new(m, message, &c);
    if (r == 0) {
        c->id = id;
        r = mailbox_read(m->mailbox, id, o.allow_unknown, on_read, c, &c->mailbox);
    }
    return mail_call_begun(&c, r, error);
}

int mail_method_read_fd(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption names[] = {MAIL_OPTION(allow_unknown, 'b')};
    _cleanup_(mail_call_freep) MailCall *c = NULL;
    Manager *m = userdata;
    int destination = -1;
    const char *id;
    MailOptions o = {0};
    int r;

    r = sd_bus_message_read(message, "sh", &id, &destination);
    if (r >= 0)
        r = mail_options_read(message, names, ELEMENTSOF(names), &o, error);
    if (r == 0 && unlock_first_of(m, message, id))
        return 1;
    if (r == 0)
        r = mail_call_new(m, message, &c);
    if (r == 0) {
        c->id = id;
        r = mailbox_read_fd(m->mailbox, id, destination, o.allow_unknown, on_read, c, &c->mailbox);
    }
    return mail_call_begun(&c, r, error);
}

static void on_copied(int r, uint64_t size, void *userdata)
{
    _cleanup_(mail_call_freep) MailCall *c = userdata;

    if (r != 0)
        (void)request_fail(c->request, r, NULL);
    else
        (void)request_reply(c->request, "a{sv}", 1, "size", "t", size);
}

int mail_method_copy(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(mail_call_freep) MailCall *c = NULL;
    Manager *m = userdata;
    int destination = -1;
    const char *id;
    int r;

    r = sd_bus_message_read(message, "sh", &id, &destination);
    if (r >= 0)
        r = bus_read_no_options(message, error);
    if (r == 0)
        r = mail_call_new(m, message, &c);
    if (r == 0)
        r = mailbox_copy(m->mailbox, id, destination, on_copied, c, &c->mailbox);
    return mail_call_begun(&c, r, error);
}

int mail_method_read_copy(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption names[] = {MAIL_OPTION(allow_unknown, 'b')};
    _cleanup_(mail_call_freep) MailCall *c = NULL;
    int source = -1, destination = -1;
    Manager *m = userdata;
    MailOptions o = {0};
    int r;

    r = sd_bus_message_read(message, "hh", &source, &destination);
    if (r >= 0)
        r = mail_options_read(message, names, ELEMENTSOF(names), &o, error);
    if (r == 0 && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = mail_call_new(m, message, &c);
    if (r == 0)
        r = mailbox_read_copy(m->mailbox, source, destination, o.allow_unknown, on_read, c, &c->mailbox);
    return mail_call_begun(&c, r, error);
}
