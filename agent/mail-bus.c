/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/contacts.h"
#include "agent/mail-bus-internal.h"
#include "agent/outbox.h"
#include "agent/relays.h"
#include "agent/unlocker.h"
#include "agent/vtables.h"
#include "libhmsg/base/error.h"

int mail_options_read(sd_bus_message *m, const BusOption *options, size_t n, MailOptions *ret,
                      sd_bus_error *error)
{
    *ret = (MailOptions){.box = "inbox", .invite.fd = -1};
    return bus_read_options(m, options, n, ret, error);
}

MailCall *mail_call_free(MailCall *c)
{
    if (!c)
        return NULL;
    (void)relays_request_free(c->relays);
    (void)outbox_request_free(c->outbox);
    (void)mailbox_request_free(c->mailbox);
    (void)request_free(c->request);
    free(c);
    return NULL;
}

static void on_client_left(void *userdata)
{
    (void)mail_call_free(userdata);
}

int mail_call_new(Manager *m, sd_bus_message *message, MailCall **ret)
{
    _cleanup_(mail_call_freep) MailCall *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->m = m;
    r = request_new(m->access, message, on_client_left, c, &c->request);
    if (r == 0)
        *ret = TAKE_PTR(c);
    return r;
}

void mail_call_answer(MailCall *c, sd_bus_message *reply, int r)
{
    if (r >= 0)
        (void)request_send(c->request, reply);
    else
        (void)request_fail(c->request, r, NULL);
    sd_bus_message_unref(reply);
}

int mail_call_begun(MailCall **c, int r, sd_bus_error *error)
{
    if (r != 0 && !*c)
        return bus_fail(error, r, NULL);
    if (r != 0)
        (void)request_fail((*c)->request, r, NULL);
    else
        (void)TAKE_PTR(*c);
    return 1;
}

static void on_registered(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    _cleanup_(mail_call_freep) MailCall *c = userdata;

    if (r != 0)
        (void)request_fail(c->request, r, detail);
    else
        (void)request_reply(c->request, "a{sv}", 2, "address", "s", result->address, "relay", "s",
                            result->relay);
}

static int method_register(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption names[] = {{"invite", 's', offsetof(MailOptions, invite.text)},
                                      {"invite_fd", 'h', offsetof(MailOptions, invite.fd)},
                                      MAIL_OPTION(trust_relay, 'b')};
    _cleanup_(mail_call_freep) MailCall *c = NULL;
    Manager *m = userdata;
    const char *address;
    MailOptions o = {0};
    int r;

    r = sd_bus_message_read_basic(message, 's', &address);
    if (r >= 0)
        r = mail_options_read(message, names, ELEMENTSOF(names), &o, error);
    if (r == 0 && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = mail_call_new(m, message, &c);
    if (r == 0)
        r = relays_register(m->relays, address, &o.invite, o.trust_relay, on_registered, c, &c->relays);
    return mail_call_begun(&c, r, error);
}

static void on_unregistered(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    _cleanup_(mail_call_freep) MailCall *c = userdata;

    if (r != 0)
        (void)request_fail(c->request, r, detail);
    else
        (void)request_reply(c->request, "");
}

static int method_unregister(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(mail_call_freep) MailCall *c = NULL;
    Manager *m = userdata;
    const char *address;
    int r;

    r = sd_bus_message_read_basic(message, 's', &address);
    if (r >= 0)
        r = bus_read_no_options(message, error);
    if (r == 0 && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = mail_call_new(m, message, &c);
    if (r == 0)
        r = relays_unregister(m->relays, address, on_unregistered, c, &c->relays);
    return mail_call_begun(&c, r, error);
}

static int append_registration(const char *address, const char *relay, const char *state, const char *failure,
                               void *userdata)
{
    int r = sd_bus_message_append(userdata, "(sss)", address, relay, state);
    return r < 0 ? r : 0;
}

static int method_registrations(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    sd_bus_message *reply = NULL;
    Manager *m = userdata;
    int r;

    r = bus_read_no_options(message, error);
    if (r != 0)
        return bus_fail(error, r, NULL);
    r = sd_bus_message_new_method_return(message, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "(sss)");
    if (r >= 0)
        r = relays_each_registration(m->relays, append_registration, reply);
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r < 0 ? bus_fail(error, r, NULL) : 1;
}

static void on_sent(int r, const char *detail, const char *id, void *userdata)
{
    _cleanup_(mail_call_freep) MailCall *c = userdata;

    if (r != 0)
        (void)request_fail(c->request, r, detail);
    else
        (void)request_reply(c->request, "s", id);
}

static void on_progress(uint64_t done, uint64_t total, void *userdata)
{
    MailCall *c = userdata;
    (void)request_progress(c->request, c->job, done, total);
}

static const BusOption send_options[] = {
    MAIL_OPTION(subject, 's'),     MAIL_OPTION(file_name, 's'), MAIL_OPTION(expires_in, 't'),
    MAIL_OPTION(trust_relay, 'b'), MAIL_OPTION(fresh, 'b'),     MAIL_OPTION(job, 's'),
};

static OutboxSend make_send(const BusStrings *recipients, const MailOptions *o)
{
    return (OutboxSend){.recipients = recipients->items,
                        .n = recipients->n,
                        .subject = o->subject,
                        .file_name = o->file_name,
                        .expires_in = o->expires_in,
                        .trust_relay = o->trust_relay,
                        .fresh = o->fresh};
}

static int method_send(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(mail_call_freep) MailCall *c = NULL;
    Manager *m = userdata;
    BusStrings recipients;
    BusBytes content;
    OutboxSend what;
    MailOptions o = {0};
    int r;

    (void)sd_bus_message_sensitive(message);
    r = bus_read_strings(message, &recipients, error);
    if (r == 0)
        r = bus_read_bytes(message, &content);
    if (r == 0)
        r = mail_options_read(message, send_options, ELEMENTSOF(send_options), &o, error);
    if (r == 0 && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = mail_call_new(m, message, &c);
    if (r == 0) {
        what = make_send(&recipients, &o);
        r = outbox_send(m->outbox, &what, content.data, content.size, on_sent, c, &c->outbox);
    }
    return mail_call_begun(&c, r, error);
}

static int method_send_fd(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(mail_call_freep) MailCall *c = NULL;
    Manager *m = userdata;
    BusStrings recipients;
    int source = -1;
    OutboxSend what;
    MailOptions o = {0};
    int r;

    (void)sd_bus_message_sensitive(message); /* the subject */
    r = bus_read_strings(message, &recipients, error);
    if (r == 0)
        r = sd_bus_message_read_basic(message, 'h', &source);
    if (r >= 0)
        r = mail_options_read(message, send_options, ELEMENTSOF(send_options), &o, error);
    if (r == 0 && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = mail_call_new(m, message, &c);
    if (r == 0) {
        c->job = o.job;
        what = make_send(&recipients, &o);
        r = outbox_send_fd(m->outbox, &what, source, on_progress, on_sent, c, &c->outbox);
    }
    return mail_call_begun(&c, r, error);
}

typedef struct Listing {
    Manager *m;
    sd_bus_message *reply;
} Listing;

static int append_sender(Manager *m, sd_bus_message *reply, const InboxRow *row)
{
    const char *kid = *row->skid ? row->skid : "";
    bool checked = row->state == INBOX_NEW || row->state == INBOX_READ;
    Sender sender = {.trust = CONTACT_NONE, .address = ""};
    bool known;
    int r;

    if (*kid)
        (void)contacts_known_sender(m->contacts, kid, &sender);
    known = sender.trust == CONTACT_PINNED || sender.trust == CONTACT_VERIFIED;
    r = bus_append_string(reply, "sender", known && *sender.address ? sender.address : kid);
    if (r >= 0)
        r = bus_append_string(reply, "sender_kid", kid);
    if (r >= 0)
        r = bus_append_bool(reply, "verified", checked && known);
    if (r >= 0)
        r = bus_append_bool(reply, "trusted", checked && sender.trust == CONTACT_VERIFIED);
    return r;
}

static int append_inbox(const InboxRow *row, void *userdata)
{
    Listing *l = userdata;
    sd_bus_message *m = l->reply;
    int r;

    r = sd_bus_message_open_container(m, 'a', "{sv}");
    if (r >= 0)
        r = bus_append_string(m, "id", row->id);
    if (r >= 0)
        r = bus_append_u64(m, "serial", (uint64_t)row->serial);
    if (r >= 0)
        r = append_sender(l->m, m, row);
    if (r >= 0)
        r = bus_append_u64(m, "received", (uint64_t)row->received);
    if (r >= 0)
        r = bus_append_u64(m, "size", row->size);
    if (r >= 0)
        r = bus_append_bool(m, "read", row->state == INBOX_READ);
    if (r >= 0)
        r = bus_append_string(m, "state", mailbox_state_name(row->state));
    if (r >= 0)
        r = sd_bus_message_close_container(m);
    return r < 0 ? r : 0;
}

static int append_outbox(const OutboxRow *row, void *userdata)
{
    Listing *l = userdata;
    sd_bus_message *m = l->reply;
    int r;

    r = sd_bus_message_open_container(m, 'a', "{sv}");
    if (r >= 0)
        r = bus_append_string(m, "id", row->id);
    if (r >= 0)
        r = bus_append_u64(m, "serial", (uint64_t)row->serial);
    if (r >= 0)
        r = bus_append_string(m, "recipient", row->recipient);
    if (r >= 0)
        r = bus_append_string(m, "state", outbox_state_name(row->state));
    if (r >= 0)
        r = bus_append_u64(m, "queued", (uint64_t)row->queued);
    if (r >= 0)
        r = bus_append_u64(m, "size", row->size);
    if (r >= 0)
        r = bus_append_u32(m, "attempts", row->attempts);
    if (r >= 0)
        r = bus_append_u64(m, "next_attempt", (uint64_t)row->next_attempt);
    if (r >= 0)
        r = bus_append_string(m, "error", row->error);
    if (r >= 0)
        r = sd_bus_message_close_container(m);
    return r < 0 ? r : 0;
}

static int method_list(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption names[] = {MAIL_OPTION(box, 's'), MAIL_OPTION(after, 't')};
    Manager *m = userdata;
    Listing l = {.m = m};
    bool outbox;
    MailOptions o = {0};
    int r;

    r = mail_options_read(message, names, ELEMENTSOF(names), &o, error);
    outbox = r == 0 && strcmp(o.box, "outbox") == 0;
    if (r == 0 && !outbox && strcmp(o.box, "inbox") != 0)
        r = HMSG_ERROR_INVALID_ARGS;
    if (r != 0)
        return bus_fail(error, r, "box is inbox or outbox");
    r = sd_bus_message_new_method_return(message, &l.reply);
    if (r >= 0)
        r = sd_bus_message_open_container(l.reply, 'a', "a{sv}");
    if (r >= 0)
        r = outbox ? outbox_store_each(outbox_store(m->outbox), o.after, append_outbox, &l)
                   : inbox_each(mailbox_inbox(m->mailbox), o.after, append_inbox, &l);
    if (r == 0)
        r = sd_bus_message_close_container(l.reply);
    if (r >= 0)
        r = sd_bus_send(NULL, l.reply, NULL);
    sd_bus_message_unref(l.reply);
    return r < 0 ? bus_fail(error, r, NULL) : 1;
}

static int reply_empty(sd_bus_message *message, int r, const char *detail, sd_bus_error *error)
{
    if (r != 0)
        return bus_fail(error, r, detail);
    return sd_bus_reply_method_return(message, "");
}

static int read_id(sd_bus_message *message, const char **ret, sd_bus_error *error)
{
    int r = sd_bus_message_read_basic(message, 's', ret);

    return r < 0 ? r : bus_read_no_options(message, error);
}

static int method_delete(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    const char *id;
    int r;

    r = read_id(message, &id, error);
    if (r != 0)
        return bus_fail(error, r, NULL);
    r = mailbox_delete(m->mailbox, id);
    if (r == HMSG_ERROR_NOT_FOUND)
        r = outbox_delete(m->outbox, id);
    return reply_empty(message, r, r == HMSG_ERROR_INVALID_ARGS ? "The message is still under way" : NULL,
                       error);
}

static int method_retry(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    const char *id;
    int r;

    r = read_id(message, &id, error);
    if (r == 0)
        r = outbox_retry(m->outbox, id);
    return reply_empty(message, r, NULL, error);
}

static int method_cancel(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    const char *id;
    int r;

    r = read_id(message, &id, error);
    if (r == 0)
        r = outbox_cancel(m->outbox, id);
    return reply_empty(message, r,
                       r == HMSG_ERROR_ALREADY_EXISTS ? "A relay has accepted the message already" : NULL,
                       error);
}

static void on_synced(int r, const char *detail, const MailboxSync *result, void *userdata)
{
    _cleanup_(mail_call_freep) MailCall *c = userdata;

    if (r != 0)
        (void)request_fail(c->request, r, detail);
    else
        (void)request_reply(c->request, "a{sv}", 3, "fetched", "u", result->fetched, "relays", "u",
                            result->relays, "unreachable", "u", result->unreachable);
}

static int method_sync(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(mail_call_freep) MailCall *c = NULL;
    Manager *m = userdata;
    int r;

    r = bus_read_no_options(message, error);
    if (r == 0)
        r = mail_call_new(m, message, &c);
    if (r == 0) {
        outbox_hurry(m->outbox);
        r = mailbox_sync(m->mailbox, on_synced, c, &c->mailbox);
    }
    return mail_call_begun(&c, r, error);
}

static int lifetime_failed(sd_bus_error *error, int r)
{
    return bus_fail(error, r,
                    r == HMSG_ERROR_NOT_FOUND ? "This is no address of ours that is registered"
                    : r == HMSG_ERROR_INVALID_ARGS
                        ? "A message waits for 1 hour to 30 days, or 0 for as long as the "
                          "relay lets it; of several addresses one must be named"
                        : NULL);
}

static int method_lifetime(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    const char *address;
    uint64_t seconds = 0;
    Manager *m = userdata;
    int r;

    r = sd_bus_message_read_basic(message, 's', &address);
    if (r >= 0)
        r = bus_read_no_options(message, error);
    if (r == 0)
        r = relays_lifetime(m->relays, address, &seconds);
    return r == 0 ? sd_bus_reply_method_return(message, "a{sv}", 1, "lifetime", "t", seconds)
                  : lifetime_failed(error, r);
}

static int method_set_lifetime(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption options[] = {{"seconds", 't', 0}};
    const char *address;
    uint64_t seconds = 0;
    Manager *m = userdata;
    int r;

    r = sd_bus_message_read_basic(message, 's', &address);
    if (r >= 0)
        r = bus_read_options(message, options, ELEMENTSOF(options), &seconds, error);
    if (r == 0)
        r = relays_set_lifetime(m->relays, address, seconds);
    return r == 0 ? sd_bus_reply_method_return(message, NULL) : lifetime_failed(error, r);
}

const sd_bus_vtable mail_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Register", SD_BUS_ARGS("s", address, "a{sv}", options),
                            SD_BUS_RESULT("a{sv}", result), method_register, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Unregister", SD_BUS_ARGS("s", address, "a{sv}", options), SD_BUS_NO_RESULT,
                            method_unregister, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Registrations", SD_BUS_ARGS("a{sv}", options),
                            SD_BUS_RESULT("a(sss)", registrations), method_registrations,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Lifetime", SD_BUS_ARGS("s", address, "a{sv}", options),
                            SD_BUS_RESULT("a{sv}", result), method_lifetime, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetLifetime", SD_BUS_ARGS("s", address, "a{sv}", options), SD_BUS_NO_RESULT,
                            method_set_lifetime, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Send", SD_BUS_ARGS("as", recipients, "ay", content, "a{sv}", options),
                            SD_BUS_RESULT("s", id), method_send, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SendFd", SD_BUS_ARGS("as", recipients, "h", source, "a{sv}", options),
                            SD_BUS_RESULT("s", id), method_send_fd, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("List", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("aa{sv}", messages),
                            method_list, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Read", SD_BUS_ARGS("s", id, "a{sv}", options),
                            SD_BUS_RESULT("ay", content, "a{sv}", info), mail_method_read,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ReadFd", SD_BUS_ARGS("s", id, "h", destination, "a{sv}", options),
                            SD_BUS_RESULT("a{sv}", info), mail_method_read_fd, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Copy", SD_BUS_ARGS("s", id, "h", destination, "a{sv}", options),
                            SD_BUS_RESULT("a{sv}", info), mail_method_copy, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ReadCopy", SD_BUS_ARGS("h", source, "h", destination, "a{sv}", options),
                            SD_BUS_RESULT("a{sv}", info), mail_method_read_copy, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Delete", SD_BUS_ARGS("s", id, "a{sv}", options), SD_BUS_NO_RESULT, method_delete,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Retry", SD_BUS_ARGS("s", id, "a{sv}", options), SD_BUS_NO_RESULT, method_retry,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Cancel", SD_BUS_ARGS("s", id, "a{sv}", options), SD_BUS_NO_RESULT, method_cancel,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Sync", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("a{sv}", result),
                            method_sync, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL_WITH_ARGS("Received", SD_BUS_ARGS("s", id), 0),
    SD_BUS_SIGNAL_WITH_ARGS("RelayRestored", SD_BUS_NO_ARGS, 0),
    SD_BUS_SIGNAL_WITH_ARGS("StateChanged",
                            SD_BUS_ARGS("s", id, "s", recipient, "s", state, "a{sv}", details), 0),
    SD_BUS_VTABLE_END,
};
