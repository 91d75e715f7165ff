/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sys/socket.h>
#include <utlist.h>

#include "agent/channel.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

typedef struct Channel {
    struct Channel *prev, *next;
    Channels *owner;
    sd_bus *bus;
    sd_event_source *begin, *end;
} Channel;

struct Channels {
    Manager *m;
    Channel *list;
    unsigned n;
};

static void channel_close(Channel *c)
{
    Channels *owner = c->owner;

    if (owner->m->access)
        access_channel_closed(owner->m->access, c->bus);
    DL_DELETE(owner->list, c);
    owner->n--;
    sd_event_source_disable_unref(c->begin);
    sd_event_source_disable_unref(c->end);
    sd_bus_detach_event(c->bus);
    sd_bus_close_unref(c->bus);
    free(c);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    channel_close(userdata); /* sd-bus holds its own reference while it calls us */
    return 0;
}

/* One message each time, so that a client which never stops does not keep the loop from the others. */
static int on_begin(sd_event_source *source, void *userdata)
{
    Channel *c = userdata;
    Channels *owner = c->owner;
    sd_bus *bus = sd_bus_ref(c->bus); /* the channel may be closed by what is in it */
    Channel *there;
    int r;

    r = sd_bus_process(bus, NULL);
    DL_SEARCH_SCALAR(owner->list, there, bus, bus);
    if (there && r <= 0)
        there->begin = sd_event_source_disable_unref(there->begin);
    sd_bus_unref(bus);
    return 0;
}

/* What sd-bus has read together with the last line of the authentication it leaves in its buffer, until more
 * comes: a client that waits for its answer sends nothing more. */
static int on_connected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    Channel *c = userdata;
    int r;

    r = sd_event_add_defer(c->owner->m->event, &c->begin, on_begin, c);
    return r < 0 ? r : sd_event_source_set_enabled(c->begin, SD_EVENT_ON);
}

static int match_local(Channel *c, const char *member, sd_bus_message_handler_t handler)
{
    return sd_bus_match_signal(c->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
                               "org.freedesktop.DBus.Local", member, handler, c);
}

int channels_new(Manager *m, Channels **ret)
{
    Channels *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    c->m = m;
    *ret = c;
    return 0;
}

Channels *channels_free(Channels *c)
{
    if (!c)
        return NULL;
    while (c->list) {
        (void)sd_bus_flush(c->list->bus);
        channel_close(c->list);
    }
    free(c);
    return NULL;
}

/* Takes fd over. */
static int channel_start(Channel *c, int fd)
{
    sd_id128_t id;
    int r;

    r = sd_id128_randomize(&id);
    if (r >= 0)
        r = sd_bus_new(&c->bus);
    if (r < 0) {
        fd_close(fd);
        return r;
    }
    r = sd_bus_set_fd(c->bus, fd, fd);
    if (r < 0) {
        fd_close(fd);
        return r;
    }
    r = sd_bus_set_server(c->bus, true, id);
    if (r >= 0)
        r = sd_bus_negotiate_fds(c->bus, true);
    if (r >= 0)
        r = sd_bus_set_description(c->bus, "channel");
    if (r >= 0)
        r = manager_publish(c->owner->m, c->bus);
    if (r >= 0)
        r = sd_bus_set_connected_signal(c->bus, true);
    if (r >= 0)
        r = match_local(c, "Connected", on_connected);
    if (r >= 0)
        r = match_local(c, "Disconnected", on_disconnected);
    if (r >= 0)
        r = sd_bus_start(c->bus);
    if (r >= 0)
        r = sd_bus_attach_event(c->bus, c->owner->m->event, SD_EVENT_PRIORITY_NORMAL);
    return r < 0 ? r : 0;
}

int channels_open(Channels *channels, sd_bus_message *call, int *ret_fd)
{
    _cleanup_(fd_closep) int theirs = -1;
    Client *rights;
    Channel *c;
    int pair[2];
    int r;

    r = access_client(channels->m->access, call, &rights);
    if (r < 0)
        return r;
    if (channels->n >= CHANNELS_MAX)
        return HMSG_ERROR_QUOTA_EXCEEDED;
    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        r = -errno;
        free(c);
        return r;
    }
    theirs = pair[1];
    c->owner = channels;
    DL_APPEND(channels->list, c);
    channels->n++;
    r = channel_start(c, pair[0]);
    if (r >= 0)
        r = access_watch_channel(channels->m->access, c->bus, rights);
    if (r < 0) {
        channel_close(c);
        return r;
    }
    *ret_fd = TAKE_FD(theirs);
    return 0;
}

static int on_end(sd_event_source *source, void *userdata)
{
    channel_close(userdata);
    return 0;
}

/* What waits for a client that does not read lies in our memory. It is cut off from the loop, not from within
 * what may be a call of its own. */
static bool is_stuck(Channel *c)
{
    uint64_t n = 0;

    if (!c->end && sd_bus_get_n_queued_write(c->bus, &n) >= 0 && n > CHANNEL_UNREAD_MAX) {
        log_info("A client does not read what it asked for: its channel is closed");
        (void)sd_event_add_defer(c->owner->m->event, &c->end, on_end, c);
    }
    return c->end;
}

void channels_each(Channels *channels, int (*f)(sd_bus *bus, void *userdata), void *userdata)
{
    Channel *c;

    DL_FOREACH (channels->list, c)
        if (!is_stuck(c))
            (void)f(c->bus, userdata);
}

void channels_check(Channels *channels, sd_bus *bus)
{
    Channel *c;

    DL_SEARCH_SCALAR(channels->list, c, bus, bus);
    if (c)
        (void)is_stuck(c);
}
