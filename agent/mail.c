/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/mail.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/bus-util.h"
#include "agent/checks.h"
#include "agent/contact-rules.h"
#include "agent/contacts-manage.h"
#include "agent/identity.h"
#include "agent/mailbox.h"
#include "agent/outbox.h"
#include "agent/relays.h"
#include "agent/session-out.h"
#include "agent/store.h"
#include "agent/vault.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

#define TEXT_SIZE 512u

static void on_identity_changed(Identity *i, void *userdata)
{
    Manager *m = userdata;

    if (m->relays)
        relays_identity_changed(m->relays);
    if (m->mailbox)
        mailbox_identity_changed(m->mailbox);
    if (m->outbox)
        outbox_identity_changed(m->outbox);
}

static void on_superseded(const char *kid, void *userdata)
{
    Manager *m = userdata;

    if (m->session_out)
        session_out_drop(m->session_out, kid);
}

static void on_ruled(void *userdata)
{
    Manager *m = userdata;

    if (m->relays)
        relays_rules_changed(m->relays);
}

int mail_start(Manager *m)
{
    int r;

    r = store_new(m->places.data_dir, vault_suffix(m->vault), vault_seal(m->vault), &m->store);
    if (r == -ENOTSUP)
        log_error("The store in %s was made by a newer version of hmsg", m->places.data_dir);
    else if (r != 0)
        log_error("The store in %s cannot be opened: %s", m->places.data_dir, error_message(r));
    if (r == 0)
        r = contacts_new(m, &m->contacts);
    if (r == 0) {
        contacts_on_superseded(m->contacts, on_superseded, m);
        contacts_on_ruled(m->contacts, on_ruled, m);
    }
    if (r == 0)
        r = relays_new(m, &m->relays);
    if (r == 0)
        r = mailbox_new(m, &m->mailbox);
    if (r == 0)
        r = outbox_new(m, &m->outbox);
    if (r == 0)
        r = identity_watch(m->identity, on_identity_changed, m);
    return r > 0 ? -EIO : r;
}

void mail_stop(Manager *m)
{
    m->outbox = outbox_free(m->outbox);
    m->mailbox = mailbox_free(m->mailbox);
    m->relays = relays_free(m->relays);
    m->contacts = contacts_free(m->contacts);
    m->store = store_free(m->store);
}

typedef struct Append {
    Manager *m;
    sd_bus_message *reply;
    bool any;
} Append;

/* What keeps us from the relay, else what keeps a message there. */
static const char *fault(const Append *a, const char *relay, const char *error)
{
    return *error ? error : mailbox_fault(a->m->mailbox, relay);
}

static int append_relay(const char *address, const char *relay, const char *state, const char *error,
                        void *userdata)
{
    const Append *a = userdata;
    int r = sd_bus_message_append(a->reply, "(sss)", relay, state, fault(a, relay, error));

    return r < 0 ? r : 0;
}

static int append_relays(Manager *m, sd_bus_message *reply)
{
    Append a = {.m = m, .reply = reply};
    int r;

    r = sd_bus_message_open_container(reply, 'e', "sv");
    if (r >= 0)
        r = sd_bus_message_append_basic(reply, 's', "relays");
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'v', "a(sss)");
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "(sss)");
    if (r >= 0)
        r = relays_each_registration(m->relays, append_relay, &a);
    for (unsigned i = 0; i < 3 && r >= 0; i++)
        r = sd_bus_message_close_container(reply);
    return r;
}

int mail_append_status(Manager *m, sd_bus_message *reply)
{
    uint64_t unread = 0, pending = 0, bytes = 0;
    int r;

    if (!vault_is_open(m->vault))
        return bus_append_string(reply, "store_problem", vault_problem(m->vault, NULL));
    r = inbox_count_unread(mailbox_inbox(m->mailbox), &unread);
    if (r == 0)
        r = outbox_store_pending(outbox_store(m->outbox), &pending, &bytes);
    if (r == 0)
        r = append_relays(m, reply);
    if (r >= 0)
        r = bus_append_u32(reply, "inbox", (uint32_t)unread);
    if (r >= 0)
        r = bus_append_u32(reply, "outbox", (uint32_t)pending);
    if (r >= 0)
        r = bus_append_string(reply, "store", vault_protection(m->vault));
    if (r >= 0)
        r = bus_append_string(reply, "courier", relays_courier_runs(m->relays) ? "running" : "stopped");
    return r;
}

static int append_relay_check(const char *address, const char *relay, const char *state, const char *error,
                              void *userdata)
{
    Append *a = userdata;
    const char *why = fault(a, relay, error);
    bool ok = strcmp(state, "connected") == 0 && !*why;
    char text[TEXT_SIZE];
    int r;

    a->any = true;
    (void)snprintf(text, sizeof(text), "%.160s: %.40s%s%.300s", address, state, *why ? ": " : "", why);
    r = checks_append(a->reply, "relay", ok ? "ok" : "warning", text,
                      strcmp(state, "unregistered") == 0 ? "Register there again: hmsgctl register ADDRESS"
                      : strcmp(state, "connected") == 0 && *error
                          ? "Ask those you wrote to lately whether all has come"
                      : ok ? NULL
                           : "Mail waits at the relay and in the outbox meanwhile");
    return r < 0 ? r : 0;
}

static int append_store_check(Manager *m, sd_bus_message *reply)
{
    bool by_tpm = strcmp(vault_protection(m->vault), "tpm") == 0;
    const char *help = NULL;
    char text[TEXT_SIZE];

    if (!vault_is_open(m->vault)) {
        (void)snprintf(text, sizeof(text), "The store is not open: %s", vault_problem(m->vault, &help));
        return checks_append(reply, "store", "error", text, help);
    }
    if (vault_is_behind(m->vault))
        return checks_append(reply, "store", "warning", "The store is under its key of before still",
                             "Make room on the disk; it is tried again");
    if (db_check(store_db(m->store)) == 0)
        return checks_append(reply, "store", "ok",
                             by_tpm ? "The store is undamaged; the TPM keeps its key"
                                    : "The store is undamaged; its key is in a file beside it",
                             NULL);
    return checks_append(reply, "store", "error", "The store is damaged or cannot be read",
                         "Check the disk; restore the data folder from a backup");
}

static int append_rules_check(Manager *m, sd_bus_message *reply)
{
    _cleanup_(mailbox_settings_done) MailboxSettings s = {0};
    size_t left_out = 0;
    char text[TEXT_SIZE];

    if (contact_rules(store_db(m->store), &s, &left_out) != 0 || left_out == 0)
        return 0;
    (void)snprintf(text, sizeof(text),
                   "Relays take %u keys of contacts that are blocked or allowed: %zu are left out",
                   SENDER_RULES_MAX, left_out);
    return checks_append(reply, "rules", "warning", text,
                         "What is blocked is refused here all the same; hmsgctl contact forget makes room");
}

int mail_append_checks(Manager *m, sd_bus_message *reply)
{
    Append a = {.m = m, .reply = reply};
    int r;

    r = append_store_check(m, reply);
    if (r < 0 || !vault_is_open(m->vault))
        return r;
    r = relays_each_registration(m->relays, append_relay_check, &a);
    if (r >= 0 && a.any)
        r = append_rules_check(m, reply);
    else if (r >= 0)
        r = checks_append(reply, "relay", "ok",
                          "There is no mailbox: files can be encrypted, mail cannot come",
                          "To have one: hmsgctl register NAME@HOST");
    return r;
}
