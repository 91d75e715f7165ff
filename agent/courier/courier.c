/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/courier/courier.h"

#include <errno.h>
#include <stdarg.h>

#include "agent/courier/call.h"
#include "agent/courier/connection.h"
#include "agent/courier/peer.h"

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    Courier *c = userdata;

    return sd_event_exit(c->event, 0);
}

static int start_bus(Courier *c)
{
    sd_id128_t id;
    int r;

    r = sd_id128_randomize(&id);
    if (r >= 0)
        r = sd_bus_set_server(c->bus, true, id);
    if (r >= 0)
        r = sd_bus_negotiate_fds(c->bus, true);
    if (r >= 0)
        r = sd_bus_add_object_vtable(c->bus, NULL, COURIER_PATH, COURIER_INTERFACE, courier_vtable, c);
    if (r >= 0)
        r = sd_bus_match_signal(c->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
                                "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, c);
    if (r >= 0)
        r = sd_bus_start(c->bus);
    if (r >= 0)
        r = sd_bus_attach_event(c->bus, c->event, SD_EVENT_PRIORITY_NORMAL);
    return r < 0 ? r : 0;
}

int courier_new(int fd, Courier **ret)
{
    _cleanup_(courier_freep) Courier *c = NULL;
    _cleanup_(fd_closep) int owned = fd;
    int r;

    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->tls_index = connection_tls_index_new();
    if (c->tls_index < 0)
        return c->tls_index;
    r = sd_event_new(&c->event);
    if (r >= 0)
        r = sd_bus_new(&c->bus);
    if (r >= 0)
        r = sd_bus_set_fd(c->bus, owned, owned);
    if (r < 0)
        return r;
    (void)TAKE_FD(owned);
    r = start_bus(c);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(c);
    return 0;
}

Courier *courier_free(Courier *c)
{
    if (!c)
        return NULL;
    peers_free(c);
    calls_free(c);
    if (c->bus)
        sd_bus_detach_event(c->bus);
    sd_bus_close_unref(c->bus);
    sd_event_unref(c->event);
    free(c);
    return NULL;
}

int courier_run(Courier *c)
{
    int r = sd_event_loop(c->event);

    return r < 0 ? r : 0;
}

void courier_signal(Courier *c, const char *member, const char *types, ...)
{
    sd_bus_message *m = NULL;
    va_list ap;
    int r;

    r = sd_bus_message_new_signal(c->bus, &m, COURIER_PATH, COURIER_INTERFACE, member);
    if (r >= 0) {
        va_start(ap, types);
        r = sd_bus_message_appendv(m, types, ap);
        va_end(ap);
    }
    if (r >= 0)
        r = sd_bus_send(c->bus, m, NULL);
    sd_bus_message_unref(m);
    if (r < 0)
        (void)sd_event_exit(c->event, r);
}
