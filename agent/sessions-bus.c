/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/bus-util.h"
#include "agent/keyring.h"
#include "agent/session-in.h"
#include "agent/session-out.h"
#include "agent/vtables.h"
#include "libhmsg/base/error.h"

typedef struct Row {
    const char *name, *direction, *peer, *tier;
    int64_t created, last_used;
    uint64_t uses;
} Row;

static int append_row(sd_bus_message *reply, const Row *row)
{
    return sd_bus_message_append(reply, "a{sv}", 7, "id", "s", row->name, "direction", "s", row->direction,
                                 "peer", "s", row->peer, "tier", "s", row->tier, "created", "t",
                                 (uint64_t)row->created, "last_used", "t", (uint64_t)row->last_used, "uses",
                                 "t", row->uses);
}

static int append_in(const SessionInFacts *f, void *userdata)
{
    const Row row = {f->name, "in", f->peer, f->hot ? "hot" : "wrapped", f->created, f->last_used, f->uses};
    int r = append_row(userdata, &row);

    return r < 0 ? r : 0;
}

static int append_out(const SessionOutFacts *f, void *userdata)
{
    const Row row = {f->name, "out", f->kid, "hot", f->created, f->last_used, f->uses};
    int r = append_row(userdata, &row);

    return r < 0 ? r : 0;
}

static int method_list(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    sd_bus_message *reply = NULL;
    int r;

    r = bus_read_no_options(message, error);
    if (r != 0)
        return bus_fail(error, r, NULL);
    r = sd_bus_message_new_method_return(message, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "a{sv}");
    if (r >= 0)
        r = session_in_each(m->session_in, append_in, reply);
    if (r >= 0)
        r = session_out_each(m->session_out, append_out, reply);
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

static int method_flush(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    struct FlushOptions {
        const char *direction, *id;
    } o = {0};
    static const BusOption options[] = {
        {"direction", 's', offsetof(struct FlushOptions, direction)},
        {"id", 's', offsetof(struct FlushOptions, id)},
    };
    Manager *m = userdata;
    bool in, out;
    uint32_t n = 0;
    int r;

    r = bus_read_options(message, options, ELEMENTSOF(options), &o, error);
    if (r != 0)
        return bus_fail(error, r, NULL);
    in = !o.direction || strcmp(o.direction, "in") == 0;
    out = !o.direction || strcmp(o.direction, "out") == 0;
    if (!in && !out)
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS, "direction is in or out");
    if (in)
        n += session_in_flush(m->session_in, o.id);
    if (out)
        n += session_out_flush(m->session_out, o.id);
    if (o.id && n == 0)
        return bus_fail(error, HMSG_ERROR_NOT_FOUND, "There is no such session");
    return sd_bus_reply_method_return(message, "u", n);
}

static int get_count(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const Manager *m = userdata;

    return sd_bus_message_append(reply, "u",
                                 session_in_count(m->session_in) + session_out_count(m->session_out));
}

static int get_hot(sd_bus *bus, const char *path, const char *interface, const char *property,
                   sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const Manager *m = userdata;

    return sd_bus_message_append(reply, "u", keyring_count_hot(m->keyring));
}

static int get_idle(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const Manager *m = userdata;

    return sd_bus_message_append(reply, "t", session_in_idle_timeout(m->session_in));
}

static int get_absolute(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const Manager *m = userdata;

    return sd_bus_message_append(reply, "t", session_in_absolute_timeout(m->session_in));
}

const sd_bus_vtable sessions_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("List", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("aa{sv}", sessions),
                            method_list, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Flush", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("u", count), method_flush,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("Count", "u", get_count, 0, 0),
    SD_BUS_PROPERTY("Hot", "u", get_hot, 0, 0),
    SD_BUS_PROPERTY("IdleTimeout", "t", get_idle, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("AbsoluteTimeout", "t", get_absolute, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_VTABLE_END,
};
