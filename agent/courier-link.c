/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/courier-link.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"

#define COURIER_PATH "/org/hmsg/Courier1"
#define COURIER_INTERFACE "org.hmsg.Courier1"
#define COURIER_ERROR "org.hmsg.Courier1.Error."
#define USEC 1000000u
#define LIFE_GOOD (60u * USEC) /* who lived so long may be started again at once */
#define RETRY_AFTER_MAX 86400u

struct CourierLink {
    sd_event *event;
    CourierHandlers handlers;
    void *userdata;
    sd_bus *bus;
    uint64_t started;    /* CLOCK_BOOTTIME, microseconds */
    uint64_t not_before; /* the next start */
    unsigned pause;      /* seconds */
};

int courier_link_new(sd_event *event, const CourierHandlers *handlers, void *userdata, CourierLink **ret)
{
    CourierLink *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    c->event = sd_event_ref(event);
    c->handlers = *handlers;
    c->userdata = userdata;
    *ret = c;
    return 0;
}

static void close_bus(CourierLink *c)
{
    if (!c->bus)
        return;
    sd_bus_detach_event(c->bus);
    c->bus = sd_bus_close_unref(c->bus);
}

CourierLink *courier_link_free(CourierLink *c)
{
    if (!c)
        return NULL;
    close_bus(c);
    sd_event_unref(c->event);
    free(c);
    return NULL;
}

bool courier_link_runs(const CourierLink *c)
{
    return c->bus;
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    CourierLink *c = userdata;
    uint64_t now = clock_boottime();

    if (now - c->started >= LIFE_GOOD)
        c->pause = 0;
    else if (c->pause == 0)
        c->pause = COURIER_RESTART_MIN;
    else
        c->pause = c->pause * 2 > COURIER_RESTART_MAX ? COURIER_RESTART_MAX : c->pause * 2;
    c->not_before = now + (uint64_t)c->pause * USEC;
    close_bus(c); /* sd-bus holds its own reference while it calls us */
    c->handlers.gone(c->userdata);
    return 0;
}

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    CourierLink *c = userdata;

    c->handlers.signal(sd_bus_message_get_member(m), m, c->userdata);
    return 0;
}

static int start_bus(CourierLink *c)
{
    _cleanup_(fd_closep) int fd = -1;
    int r;

    r = c->handlers.start(c->userdata, &fd);
    if (r < 0)
        return r;
    r = sd_bus_new(&c->bus);
    if (r >= 0)
        r = sd_bus_set_fd(c->bus, fd, fd);
    if (r < 0)
        return r;
    (void)TAKE_FD(fd);
    r = sd_bus_negotiate_fds(c->bus, true);
    if (r >= 0)
        r = sd_bus_set_description(c->bus, "courier");
    if (r >= 0)
        r = sd_bus_match_signal(c->bus, NULL, NULL, COURIER_PATH, COURIER_INTERFACE, NULL, on_signal, c);
    if (r >= 0)
        r = sd_bus_match_signal(c->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
                                "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, c);
    if (r >= 0)
        r = sd_bus_start(c->bus);
    if (r >= 0)
        r = sd_bus_attach_event(c->bus, c->event, SD_EVENT_PRIORITY_NORMAL);
    return r < 0 ? r : 0;
}

static int ensure(CourierLink *c)
{
    uint64_t now = clock_boottime();
    int r;

    if (c->bus)
        return 0;
    if (now < c->not_before)
        return HMSG_ERROR_RELAY_UNAVAILABLE;
    c->started = now;
    r = start_bus(c);
    if (r < 0) {
        close_bus(c);
        c->not_before = now + (uint64_t)COURIER_RESTART_MIN * USEC;
    }
    return r;
}

int courier_link_call_new(CourierLink *c, const char *member, sd_bus_message **ret)
{
    int r;

    r = ensure(c);
    if (r != 0)
        return HMSG_ERROR_RELAY_UNAVAILABLE;
    return sd_bus_message_new_method_call(c->bus, ret, NULL, COURIER_PATH, COURIER_INTERFACE, member);
}

int courier_link_call(CourierLink *c, sd_bus_message *call, bool endless, sd_bus_message_handler_t done,
                      void *userdata, sd_bus_slot **ret_slot)
{
    uint64_t timeout = endless ? UINT64_MAX : (uint64_t)COURIER_CALL_SECONDS * USEC;
    int r;

    /* the courier of the call may have died since */
    if (!c->bus || sd_bus_message_get_bus(call) != c->bus)
        return HMSG_ERROR_RELAY_UNAVAILABLE;
    r = sd_bus_call_async(c->bus, ret_slot, call, done, userdata, timeout);
    return r < 0 ? r : 0;
}

static int error_code(const char *name)
{
    static const struct {
        const char *name;
        int error;
    } names[] = {
        {"Unreachable", HMSG_ERROR_RELAY_UNAVAILABLE},
        {"PinMismatch", HMSG_ERROR_UNTRUSTED},
        {"LoginRequired", HMSG_ERROR_RELAY_UNAVAILABLE},
        {"NotFound", HMSG_ERROR_NOT_FOUND},
        {"Conflict", HMSG_ERROR_ALREADY_EXISTS},
        {"TooLarge", HMSG_ERROR_TOO_LARGE},
        {"Busy", HMSG_ERROR_RELAY_UNAVAILABLE},
        {"Full", HMSG_ERROR_QUOTA_EXCEEDED},
        {"Refused", HMSG_ERROR_DENIED},
        {"Protocol", HMSG_ERROR_RELAY_UNAVAILABLE},
    };

    if (strncmp(name, COURIER_ERROR, strlen(COURIER_ERROR)) == 0)
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
            if (strcmp(name + strlen(COURIER_ERROR), names[i].name) == 0)
                return names[i].error;
    /* its connection ended, or it did not answer */
    if (strcmp(name, SD_BUS_ERROR_INVALID_ARGS) == 0)
        return HMSG_ERROR_INVALID_ARGS;
    return HMSG_ERROR_RELAY_UNAVAILABLE;
}

/* "retry=N " */
static const char *read_retry(const char *text, unsigned *ret)
{
    unsigned long n;
    char *end = NULL;

    if (strncmp(text, "retry=", 6) != 0 || text[6] < '0' || text[6] > '9')
        return text;
    n = strtoul(text + 6, &end, 10);
    if (*end != ' ')
        return text;
    *ret = n > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : (unsigned)n;
    return end + 1;
}

/* "pin=PIN " is of the key that a relay has: to be shown, it would only tempt to be believed. */
static const char *skip_pin(const char *text)
{
    const char *end = strncmp(text, "pin=", 4) == 0 ? strchr(text, ' ') : NULL;

    return end ? end + 1 : text;
}

/* Whatever is not printable ASCII becomes '?': it may be a stranger's. */
static void copy_printable(char *to, size_t room, const char *from)
{
    size_t i;

    for (i = 0; i + 1 < room && from[i]; i++)
        to[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
    to[i] = 0;
}

void courier_error_read(const sd_bus_error *e, CourierError *ret)
{
    const char *name = e && e->name ? e->name : "";
    const char *text = e && e->message ? e->message : "";

    *ret = (CourierError){.error = error_code(name)};
    ret->login_required = strcmp(name, COURIER_ERROR "LoginRequired") == 0;
    ret->unreachable = strcmp(name, COURIER_ERROR "Unreachable") == 0;
    if (strncmp(name, COURIER_ERROR, strlen(COURIER_ERROR)) != 0 &&
        strcmp(name, SD_BUS_ERROR_INVALID_ARGS) != 0)
        text = "the courier, which speaks to relays, ended or did not answer";
    text = skip_pin(read_retry(text, &ret->retry_after));
    copy_printable(ret->detail, sizeof(ret->detail), *text ? text : error_message(ret->error));
}
