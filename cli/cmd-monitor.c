/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/json-util.h"

#define EVENTS_MAX 4096u /* not yet printed; more than that many at once are seen in the lists */

/* Signals only wake it: what arrived is asked from the inbox, after what was printed already. */
typedef struct Monitor {
    Ctl *ctl;
    bool arrived;
    uint64_t serial; /* of the last message printed */
    json_t *events;  /* of other signals */
} Monitor;

static void monitor_done(Monitor *m)
{
    json_decref(m->events);
}

static int on_received(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Monitor *m = userdata;

    m->arrived = true;
    return 0;
}

/* Takes event over; what finds no room is dropped. */
static void add_event(Monitor *m, json_t *event)
{
    if (event && json_array_size(m->events) < EVENTS_MAX)
        (void)json_array_append_new(m->events, event);
    else
        json_decref(event);
}

static int on_state(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    const char *id, *recipient, *state;

    if (sd_bus_message_read(message, "sss", &id, &recipient, &state) >= 0)
        add_event(userdata, json_pack("{s:s, s:s, s:s, s:s}", "event", "state", "id", id, "recipient",
                                      recipient, "state", state));
    return 0;
}

static int on_key(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    const char *kid;

    /* the one thing that the details can say is that the contact has recovered its address */
    if (sd_bus_message_read_basic(message, 's', &kid) >= 0 &&
        sd_bus_message_enter_container(message, 'a', "{sv}") >= 0)
        add_event(userdata, json_pack("{s:s, s:s}", "event",
                                      sd_bus_message_at_end(message, false) > 0 ? "key-changed" : "recovered",
                                      "kid", kid));
    return 0;
}

static int on_restored(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    add_event(userdata, json_pack("{s:s}", "event", "relay-restored"));
    return 0;
}

static const char *text_of(const json_t *event, const char *key)
{
    const char *text = json_string_value(json_object_get(event, key));

    return text ? text : "";
}

static int describe(const json_t *event, Buf *line)
{
    const char *kind = text_of(event, "event"), *sender = text_of(event, "sender");
    int r;

    if (strcmp(kind, "listening") == 0)
        return buf_append_string(line, "Waiting for messages; Ctrl-C ends this.");
    if (strcmp(kind, "key-changed") == 0)
        return buf_printf(line, "The key of a contact changed: %s; see hmsgctl contact list",
                          text_of(event, "kid"));
    if (strcmp(kind, "recovered") == 0)
        return buf_printf(line,
                          "A contact has recovered its address with new keys: %s; compare the fingerprint",
                          text_of(event, "kid"));
    if (strcmp(kind, "relay-restored") == 0)
        return buf_append_string(line,
                                 "A relay has gone back to a former state, and may have lost messages; see"
                                 " hmsgctl status");
    if (strcmp(kind, "state") == 0)
        return buf_printf(line, "Message %s to %s is %s", text_of(event, "id"), text_of(event, "recipient"),
                          text_of(event, "state"));
    r = buf_printf(line, "Received %s from ", text_of(event, "id"));
    if (r == 0)
        r = render_text(line, *sender ? sender : "an unknown sender",
                        strlen(*sender ? sender : "an unknown sender"), false);
    if (r == 0)
        r = buf_append_string(line, ", ");
    return r == 0 ? render_value(line, json_object_get(event, "size"), RENDER_SIZE) : r;
}

static int print_event(Ctl *ctl, const json_t *event)
{
    _cleanup_(buf_done) Buf line = BUF_MAX(RENDER_SIZE_MAX);
    _cleanup_(freep) char *json = NULL;
    int r;

    if (ctl_given(ctl, OPTION_JSON)) {
        json = json_dumps(event, JSON_COMPACT | JSON_ENSURE_ASCII);
        r = json ? buf_append_string(&line, json) : -ENOMEM;
    } else {
        r = describe(event, &line);
    }
    if (r == 0)
        r = buf_append_string(&line, "\n");
    return r < 0 ? r : ctl_print_text(ctl, buf_text(&line));
}

static int list_inbox(Monitor *m, json_t **ret)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    int r = ctl_call_new(m->ctl, "Mail", "List", &call);

    if (r != 0)
        return r;
    hmsg_call_option_string(call, "box", "inbox");
    hmsg_call_option_number(call, "after", m->serial);
    r = ctl_call_run(m->ctl, call, &reply);
    return r == 0 ? ctl_facts(m->ctl, reply, ret) : r;
}

/* Messages after the last; printed when print is true. */
static int look(Monitor *m, bool print)
{
    _cleanup_(json_unrefp) json_t *messages = NULL;
    int r;

    m->arrived = false;
    r = list_inbox(m, &messages);
    for (size_t i = 0; r == 0 && i < json_array_size(messages); i++) {
        json_t *message = json_array_get(messages, i);
        json_int_t serial = json_integer_value(json_object_get(message, "serial"));

        if (serial <= 0 || (uint64_t)serial <= m->serial)
            continue;
        m->serial = (uint64_t)serial;
        if (json_object_set_new(message, "event", json_string("received")) < 0)
            return -ENOMEM;
        r = print ? print_event(m->ctl, message) : 0;
    }
    return r;
}

static int drain(Monitor *m)
{
    int r = m->arrived ? look(m, true) : 0;

    while (r == 0 && json_array_size(m->events) > 0) {
        r = print_event(m->ctl, json_array_get(m->events, 0));
        (void)json_array_remove(m->events, 0);
    }
    return r;
}

static int subscribe(Monitor *m)
{
    static const struct {
        const char *interface, *member;
        sd_bus_message_handler_t handler;
    } signals[] = {
        {"org.hmsg.Agent1.Mail", "Received", on_received},
        {"org.hmsg.Agent1.Mail", "RelayRestored", on_restored},
        {"org.hmsg.Agent1.Mail", "StateChanged", on_state},
        {"org.hmsg.Agent1.Contacts", "KeyChanged", on_key},
    };
    sd_bus *bus = hmsg_client_bus(m->ctl->client);

    for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
        int r = sd_bus_match_signal(bus, NULL, NULL, NULL, signals[i].interface, signals[i].member,
                                    signals[i].handler, m);
        if (r < 0)
            return ctl_fail(m->ctl, r, "Cannot listen: %s", error_message(r));
    }
    return 0;
}

static int follow(Monitor *m)
{
    sd_bus *bus = hmsg_client_bus(m->ctl->client);
    int r;

    for (;;) {
        r = drain(m);
        if (r != 0)
            return r;
        r = sd_bus_process(bus, NULL);
        if (r == 0 && !m->arrived && json_array_size(m->events) == 0)
            r = sd_bus_wait(bus, UINT64_MAX);
        if (r < 0 && r != -EINTR)
            return ctl_fail(m->ctl, r, "The agent has gone");
    }
}

int cmd_monitor(Ctl *ctl)
{
    _cleanup_(monitor_done) Monitor m = {.ctl = ctl, .events = json_array()};
    _cleanup_(json_unrefp) json_t *listening = json_pack("{s:s}", "event", "listening");
    int r;

    if (!m.events || !listening)
        return -ENOMEM;
    r = ctl_simple(ctl, NULL, "", "GetStatus", NULL);
    if (r == 0)
        r = subscribe(&m);
    if (r == 0)
        r = look(&m, false);
    if (r == 0)
        r = print_event(ctl, listening);
    if (r == 0)
        r = follow(&m);
    hmsg_client_free(TAKE_PTR(ctl->client)); /* its slots point at m */
    return r;
}
