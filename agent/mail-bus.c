/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/bus-util.h"
#include "agent/contacts.h"
#include "agent/info-bus.h"
#include "agent/mailbox.h"
#include "agent/outbox.h"
#include "agent/relays.h"
#include "agent/request.h"
#include "agent/unlocker.h"
#include "agent/vtables.h"
#include "libhmsg/base/error.h"

/* Of all methods; each reads those that it has. */
typedef struct Options {
    RelaysInvite invite;
    const char *subject, *file_name, *job, *box;
    bool trust_relay, fresh, allow_unknown;
    uint64_t expires_in, after;
} Options;

#define OPTION(name, type)                                                                                   \
    {                                                                                                        \
#name, type, offsetof(Options, name)                                                                 \
    }

static int read_options(sd_bus_message *m, const BusOption *options, size_t n, Options *ret,
                        sd_bus_error *error)
{
    *ret = (Options){.box = "inbox", .invite.fd = -1};
    return bus_read_options(m, options, n, ret, error);
}

/* A call that is answered later; at most one of the works is there. */
typedef struct Call {
    Manager *m;
    Request *request;
    RelaysRequest *relays;
    OutboxRequest *outbox;
    MailboxRequest *mailbox;
    const char *job, *id; /* of the message, which lives as long as the request */
} Call;

static Call *call_free(Call *c)
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
DEFINE_CLEANUP(Call *, call_free)

static void on_client_left(void *userdata)
{
    (void)call_free(userdata);
}

static int call_new(Manager *m, sd_bus_message *message, Call **ret)
{
    _cleanup_(call_freep) Call *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->m = m;
    r = request_new(m->access, message, on_client_left, c, &c->request);
    if (r == 0)
        *ret = TAKE_PTR(c);
    return r;
}

/* Sends what r >= 0 says was put together, else the failure. Takes over reply. */
static void call_answer(Call *c, sd_bus_message *reply, int r)
{
    if (r >= 0)
        (void)request_send(c->request, reply);
    else
        (void)request_fail(c->request, r, NULL);
    sd_bus_message_unref(reply);
}

/* The end of a method that began a call: it goes on, or failed. */
static int call_begun(Call **c, int r, sd_bus_error *error)
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
    _cleanup_(call_freep) Call *c = userdata;

    if (r != 0)
        (void)request_fail(c->request, r, detail);
    else
        (void)request_reply(c->request, "a{sv}", 2, "address", "s", result->address, "relay", "s",
                            result->relay);
}

static int method_register(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption names[] = {{"invite", 's', offsetof(Options, invite.text)},
                                      {"invite_fd", 'h', offsetof(Options, invite.fd)},
                                      OPTION(trust_relay, 'b')};
    _cleanup_(call_freep) Call *c = NULL;
    Manager *m = userdata;
    const char *address;
    Options o = {0};
    int r;

    r = sd_bus_message_read_basic(message, 's', &address);
    if (r >= 0)
        r = read_options(message, names, ELEMENTSOF(names), &o, error);
    if (r == 0 && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = call_new(m, message, &c);
    if (r == 0)
        r = relays_register(m->relays, address, &o.invite, o.trust_relay, on_registered, c, &c->relays);
    return call_begun(&c, r, error);
}

static void on_unregistered(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    _cleanup_(call_freep) Call *c = userdata;

    if (r != 0)
        (void)request_fail(c->request, r, detail);
    else
        (void)request_reply(c->request, "");
}

static int method_unregister(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(call_freep) Call *c = NULL;
    Manager *m = userdata;
    const char *address;
    int r;

    r = sd_bus_message_read_basic(message, 's', &address);
    if (r >= 0)
        r = bus_read_no_options(message, error);
    if (r == 0 && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = call_new(m, message, &c);
    if (r == 0)
        r = relays_unregister(m->relays, address, on_unregistered, c, &c->relays);
    return call_begun(&c, r, error);
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
    _cleanup_(call_freep) Call *c = userdata;

    if (r != 0)
        (void)request_fail(c->request, r, detail);
    else
        (void)request_reply(c->request, "s", id);
}

static void on_progress(uint64_t done, uint64_t total, void *userdata)
{
    Call *c = userdata;
    (void)request_progress(c->request, c->job, done, total);
}

static const BusOption send_options[] = {
    OPTION(subject, 's'),     OPTION(file_name, 's'), OPTION(expires_in, 't'),
    OPTION(trust_relay, 'b'), OPTION(fresh, 'b'),     OPTION(job, 's'),
};

static OutboxSend make_send(const BusStrings *recipients, const Options *o)
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
    _cleanup_(call_freep) Call *c = NULL;
    Manager *m = userdata;
    BusStrings recipients;
    BusBytes content;
    OutboxSend what;
    Options o = {0};
    int r;

    (void)sd_bus_message_sensitive(message);
    r = bus_read_strings(message, &recipients, error);
    if (r == 0)
        r = bus_read_bytes(message, &content);
    if (r == 0)
        r = read_options(message, send_options, ELEMENTSOF(send_options), &o, error);
    if (r == 0 && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = call_new(m, message, &c);
    if (r == 0) {
        what = make_send(&recipients, &o);
        r = outbox_send(m->outbox, &what, content.data, content.size, on_sent, c, &c->outbox);
    }
    return call_begun(&c, r, error);
}

static int method_send_fd(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(call_freep) Call *c = NULL;
    Manager *m = userdata;
    BusStrings recipients;
    int source = -1;
    OutboxSend what;
    Options o = {0};
    int r;

    (void)sd_bus_message_sensitive(message); /* the subject */
    r = bus_read_strings(message, &recipients, error);
    if (r == 0)
        r = sd_bus_message_read_basic(message, 'h', &source);
    if (r >= 0)
        r = read_options(message, send_options, ELEMENTSOF(send_options), &o, error);
    if (r == 0 && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = call_new(m, message, &c);
    if (r == 0) {
        c->job = o.job;
        what = make_send(&recipients, &o);
        r = outbox_send_fd(m->outbox, &what, source, on_progress, on_sent, c, &c->outbox);
    }
    return call_begun(&c, r, error);
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
    static const BusOption names[] = {OPTION(box, 's'), OPTION(after, 't')};
    Manager *m = userdata;
    Listing l = {.m = m};
    bool outbox;
    Options o = {0};
    int r;

    r = read_options(message, names, ELEMENTSOF(names), &o, error);
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

static int append_info(sd_bus_message *m, const char *id, const OpenInfo *info, const MailHead *head,
                       int64_t received, bool counts)
{
    int r;

    r = sd_bus_message_open_container(m, 'a', "{sv}");
    if (r >= 0)
        r = bus_append_open_info(m, info, counts);
    if (r >= 0)
        r = bus_append_string(m, "id", id);
    if (r >= 0)
        r = bus_append_string(m, "subject", head->subject);
    if (r >= 0)
        r = bus_append_string(m, "file_name", head->file_name);
    if (r >= 0)
        r = bus_append_u64(m, "received", (uint64_t)received);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static void on_read(int r, const char *detail, const OpenInfo *info, const MailHead *head, int64_t received,
                    const Buf *content, void *userdata)
{
    _cleanup_(call_freep) Call *c = userdata;
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
    call_answer(c, reply, r);
}

/* Nobody is asked for what is not there. */
static bool unlock_first_of(Manager *m, sd_bus_message *message, const char *id)
{
    InboxRow row;

    return inbox_get(mailbox_inbox(m->mailbox), id, &row) == 0 && unlock_first(m, message);
}

static int method_read(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption names[] = {OPTION(allow_unknown, 'b')};
    _cleanup_(call_freep) Call *c = NULL;
    Manager *m = userdata;
    const char *id;
    Options o = {0};
    int r;

    r = sd_bus_message_read_basic(message, 's', &id);
    if (r >= 0)
        r = read_options(message, names, ELEMENTSOF(names), &o, error);
    if (r == 0 && unlock_first_of(m, message, id))
        return 1;
    if (r == 0)
        r = call_new(m, message, &c);
    if (r == 0) {
        c->id = id;
        r = mailbox_read(m->mailbox, id, o.allow_unknown, on_read, c, &c->mailbox);
    }
    return call_begun(&c, r, error);
}

static int method_read_fd(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption names[] = {OPTION(allow_unknown, 'b')};
    _cleanup_(call_freep) Call *c = NULL;
    Manager *m = userdata;
    int destination = -1;
    const char *id;
    Options o = {0};
    int r;

    r = sd_bus_message_read(message, "sh", &id, &destination);
    if (r >= 0)
        r = read_options(message, names, ELEMENTSOF(names), &o, error);
    if (r == 0 && unlock_first_of(m, message, id))
        return 1;
    if (r == 0)
        r = call_new(m, message, &c);
    if (r == 0) {
        c->id = id;
        r = mailbox_read_fd(m->mailbox, id, destination, o.allow_unknown, on_read, c, &c->mailbox);
    }
    return call_begun(&c, r, error);
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
    _cleanup_(call_freep) Call *c = userdata;

    if (r != 0)
        (void)request_fail(c->request, r, detail);
    else
        (void)request_reply(c->request, "a{sv}", 3, "fetched", "u", result->fetched, "relays", "u",
                            result->relays, "unreachable", "u", result->unreachable);
}

static int method_sync(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(call_freep) Call *c = NULL;
    Manager *m = userdata;
    int r;

    r = bus_read_no_options(message, error);
    if (r == 0)
        r = call_new(m, message, &c);
    if (r == 0) {
        outbox_hurry(m->outbox);
        r = mailbox_sync(m->mailbox, on_synced, c, &c->mailbox);
    }
    return call_begun(&c, r, error);
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
    SD_BUS_METHOD_WITH_ARGS("Send", SD_BUS_ARGS("as", recipients, "ay", content, "a{sv}", options),
                            SD_BUS_RESULT("s", id), method_send, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SendFd", SD_BUS_ARGS("as", recipients, "h", source, "a{sv}", options),
                            SD_BUS_RESULT("s", id), method_send_fd, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("List", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("aa{sv}", messages),
                            method_list, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Read", SD_BUS_ARGS("s", id, "a{sv}", options),
                            SD_BUS_RESULT("ay", content, "a{sv}", info), method_read,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ReadFd", SD_BUS_ARGS("s", id, "h", destination, "a{sv}", options),
                            SD_BUS_RESULT("a{sv}", info), method_read_fd, SD_BUS_VTABLE_UNPRIVILEGED),
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
