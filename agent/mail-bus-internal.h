/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the interface org.hmsg.Agent1.Mail share. */

#include "agent/bus-util.h"
#include "agent/mailbox.h"
#include "agent/outbox.h"
#include "agent/relays.h"
#include "agent/request.h"

/* Of all methods; each reads those that it has. */
typedef struct MailOptions {
    RelaysInvite invite;
    const char *subject, *file_name, *job, *box;
    bool trust_relay, fresh, allow_unknown;
    uint64_t expires_in, after;
} MailOptions;

#define MAIL_OPTION(name, type)                                                                              \
    {                                                                                                        \
#name, type, offsetof(MailOptions, name)                                                             \
    }

/* INVALID_ARGS has words. */
int mail_options_read(sd_bus_message *m, const BusOption *options, size_t n, MailOptions *ret,
                      sd_bus_error *error);

/* A call that is answered later; at most one of the works is there. */
typedef struct MailCall {
    Manager *m;
    Request *request;
    RelaysRequest *relays;
    OutboxRequest *outbox;
    MailboxRequest *mailbox;
    const char *job, *id; /* of the message, which lives as long as the request */
} MailCall;

MailCall *mail_call_free(MailCall *c);
DEFINE_CLEANUP(MailCall *, mail_call_free)
int mail_call_new(Manager *m, sd_bus_message *message, MailCall **ret);
/* Sends what r >= 0 says was put together, else the failure. Takes over reply. */
void mail_call_answer(MailCall *c, sd_bus_message *reply, int r);
/* The end of a method that began a call: it goes on, or failed. */
int mail_call_begun(MailCall **c, int r, sd_bus_error *error);

/* mail-read-bus.c: what gives the content of a message. */
int mail_method_read(sd_bus_message *message, void *userdata, sd_bus_error *error);
int mail_method_read_fd(sd_bus_message *message, void *userdata, sd_bus_error *error);
int mail_method_copy(sd_bus_message *message, void *userdata, sd_bus_error *error);
int mail_method_read_copy(sd_bus_message *message, void *userdata, sd_bus_error *error);
