/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/bus-util.h"
#include "agent/identity.h"
#include "agent/logind.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

#define LOGIN1 "org.freedesktop.login1"
#define LOGIN1_PATH "/org/freedesktop/login1"
#define LOGIN1_MANAGER LOGIN1 ".Manager"
#define LOGIN1_SESSION LOGIN1 ".Session"
#define PROPERTIES "org.freedesktop.DBus.Properties"
#define RETRY_USEC (60u * 1000000u)

typedef enum LockEvent { EVENT_SUSPEND, EVENT_SCREEN, EVENT_LOGOUT, EVENTS } LockEvent;
typedef enum LockAction { ACTION_NOTHING, ACTION_ERASE, ACTION_LOCK } LockAction;

static const char *const event_keys[EVENTS] = {"suspend", "screen", "logout"};
static const char *const event_names[EVENTS] = {"Suspend", "The screen is locked", "Logout"};

struct Logind {
    Manager *m;
    LockAction actions[EVENTS];
    sd_bus *bus; /* the system bus; NULL: not there */
    sd_event_source *retry;
    int inhibitor;  /* holds suspend back while it is open; -1: none */
    bool logged_in; /* the user has a session */
};

bool logind_is_there(const Logind *l)
{
    return l->bus != NULL;
}

static int read_config(Logind *l)
{
    static const char *const values[] = {"no", "erase", "lock"};

    for (LockEvent e = 0; e < EVENTS; e++) {
        const char *value = config_get(l->m->config, "lock", event_keys[e], "erase");
        size_t i = 0;

        while (i < ELEMENTSOF(values) && strcmp(value, values[i]) != 0)
            i++;
        if (i == ELEMENTSOF(values)) {
            log_error("agent.conf: [lock] %s is no, erase or lock", event_keys[e]);
            return -EINVAL;
        }
        l->actions[e] = (LockAction)i;
    }
    return 0;
}

static void act(Logind *l, LockEvent e)
{
    int r;

    if (l->actions[e] == ACTION_NOTHING)
        return;
    r = l->actions[e] == ACTION_LOCK ? identity_lock(l->m->identity) : identity_forget(l->m->identity);
    if (r == 0)
        log_info("%s: %s", event_names[e],
                 l->actions[e] == ACTION_LOCK ? "locked" : "session keys are erased");
    else if (r != HMSG_ERROR_NO_IDENTITY)
        log_error("%s: session keys may remain: %s", event_names[e], error_message(r));
}

static void drop_inhibitor(Logind *l)
{
    l->inhibitor = fd_close(l->inhibitor);
}

static int on_inhibitor(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    Logind *l = userdata;
    int fd = -1;

    drop_inhibitor(l);
    if (sd_bus_message_is_method_error(reply, NULL) || sd_bus_message_read_basic(reply, 'h', &fd) < 0)
        return 0; /* logind may refuse, or not be there: then suspend does not wait for us */
    l->inhibitor = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return 0;
}

static int take_inhibitor(Logind *l)
{
    if (l->actions[EVENT_SUSPEND] == ACTION_NOTHING)
        return 0;
    return sd_bus_call_method_async(l->bus, NULL, LOGIN1, LOGIN1_PATH, LOGIN1_MANAGER, "Inhibit",
                                    on_inhibitor, l, "ssss", "sleep", "hmsg-agent", "Erases session keys",
                                    "delay");
}

static int on_sleep(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    Logind *l = userdata;
    int begins;

    if (sd_bus_message_read_basic(m, 'b', &begins) < 0)
        return 0;
    if (begins) {
        act(l, EVENT_SUSPEND);
        drop_inhibitor(l);
        return 0;
    }
    return take_inhibitor(l);
}

/* Whose session was locked; one that is gone cannot be asked, and counts as ours. */
static int on_session_user(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    uint32_t uid = getuid();
    int r;

    if (!sd_bus_message_is_method_error(reply, NULL)) {
        r = sd_bus_message_enter_container(reply, 'v', "(uo)");
        if (r >= 0)
            r = sd_bus_message_enter_container(reply, 'r', "uo");
        if (r >= 0)
            r = sd_bus_message_read_basic(reply, 'u', &uid);
        if (r < 0)
            return 0;
    }
    if (uid == getuid())
        act(userdata, EVENT_SCREEN);
    return 0;
}

static int ask_user(Logind *l, const char *session)
{
    return sd_bus_call_method_async(l->bus, NULL, LOGIN1, session, PROPERTIES, "Get", on_session_user, l,
                                    "ss", LOGIN1_SESSION, "User");
}

static int on_lock(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return ask_user(userdata, sd_bus_message_get_path(m));
}

/* Desktops that lock the screen by themselves only say so. */
static int read_hint(sd_bus_message *m, bool *ret)
{
    const char *key;
    int locked, r;

    r = sd_bus_message_skip(m, "s");
    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "{sv}");
    while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = sd_bus_message_read_basic(m, 's', &key);
        if (r >= 0 && strcmp(key, "LockedHint") == 0) {
            r = sd_bus_message_read(m, "v", "b", &locked);
            *ret = r >= 0 && locked;
            return r;
        }
        if (r >= 0)
            r = sd_bus_message_skip(m, "v");
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
    }
    return r;
}

static int on_properties(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    bool locked = false;

    return read_hint(m, &locked) >= 0 && locked ? ask_user(userdata, sd_bus_message_get_path(m)) : 0;
}

static int has_session(sd_bus_message *reply, bool *ret)
{
    uint32_t uid;
    int r;

    r = sd_bus_message_enter_container(reply, 'a', "(susso)");
    while (r >= 0 && (r = sd_bus_message_read(reply, "(susso)", NULL, &uid, NULL, NULL, NULL)) > 0)
        if (uid == getuid())
            *ret = true;
    return r;
}

static int on_session_list(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    Logind *l = userdata;
    bool logged_in = false;

    if (sd_bus_message_is_method_error(reply, NULL) || has_session(reply, &logged_in) < 0)
        return 0;
    if (l->logged_in && !logged_in)
        act(l, EVENT_LOGOUT);
    l->logged_in = logged_in;
    return 0;
}

static int list_sessions(Logind *l)
{
    return sd_bus_call_method_async(l->bus, NULL, LOGIN1, LOGIN1_PATH, LOGIN1_MANAGER, "ListSessions",
                                    on_session_list, l, "");
}

static int on_sessions(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return list_sessions(userdata);
}

/* logind is there, or there again. */
static int greet(Logind *l)
{
    int r;

    r = take_inhibitor(l);
    return r < 0 ? r : list_sessions(l);
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return greet(userdata);
}

/* Any user of the machine could lock the keys of another. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return sd_bus_message_is_signal(m, NULL, NULL) > 0 && !bus_is_broadcast(m);
}

static int connect_bus(Logind *l);

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
    (void)connect_bus(userdata);
    return 0;
}

static int retry_later(Logind *l)
{
    int r;

    l->retry = sd_event_source_disable_unref(l->retry);
    r = sd_event_add_time_relative(l->m->event, &l->retry, CLOCK_BOOTTIME, RETRY_USEC, RETRY_USEC / 4,
                                   on_retry, l);
    return r < 0 ? r : 0;
}

/* The bus is freed when it is looked for again: not within its own callback. */
static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    Logind *l = userdata;

    drop_inhibitor(l);
    log_info("The system bus is gone: suspend and locked screens are not noticed");
    return retry_later(l);
}

static int add_matches(Logind *l)
{
    static const struct {
        const char *rule;
        sd_bus_message_handler_t handler;
    } matches[] = {
        {"type='signal',sender='" LOGIN1 "',path='" LOGIN1_PATH "',interface='" LOGIN1_MANAGER
         "',member='PrepareForSleep'",
         on_sleep},
        {"type='signal',sender='" LOGIN1 "',path='" LOGIN1_PATH "',interface='" LOGIN1_MANAGER
         "',member='SessionNew'",
         on_sessions},
        {"type='signal',sender='" LOGIN1 "',path='" LOGIN1_PATH "',interface='" LOGIN1_MANAGER
         "',member='SessionRemoved'",
         on_sessions},
        {"type='signal',sender='" LOGIN1 "',interface='" LOGIN1_SESSION "',member='Lock'", on_lock},
        {"type='signal',sender='" LOGIN1 "',interface='" PROPERTIES
         "',member='PropertiesChanged',arg0='" LOGIN1_SESSION "'",
         on_properties},
        {"type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
         "member='NameOwnerChanged',arg0='" LOGIN1 "'",
         on_owner},
        {"type='signal',sender='org.freedesktop.DBus.Local',interface='org.freedesktop.DBus.Local',"
         "member='Disconnected'",
         on_disconnected},
    };
    int r = 0;

    for (size_t i = 0; i < ELEMENTSOF(matches) && r >= 0; i++)
        r = sd_bus_add_match_async(l->bus, NULL, matches[i].rule, matches[i].handler, NULL, l);
    return r;
}

static int connect_bus(Logind *l)
{
    int r;

    l->bus = sd_bus_close_unref(l->bus);
    r = sd_bus_new(&l->bus);
    if (r >= 0)
        r = sd_bus_set_address(l->bus, l->m->places.system_bus_address);
    if (r >= 0)
        r = sd_bus_set_bus_client(l->bus, true);
    if (r >= 0)
        r = sd_bus_negotiate_fds(l->bus, true);
    if (r >= 0)
        r = sd_bus_set_description(l->bus, "system");
    if (r >= 0)
        r = sd_bus_start(l->bus);
    if (r >= 0)
        r = sd_bus_attach_event(l->bus, l->m->event, SD_EVENT_PRIORITY_NORMAL);
    if (r >= 0)
        r = sd_bus_add_filter(l->bus, NULL, on_message, l);
    if (r >= 0)
        r = add_matches(l);
    if (r >= 0)
        r = greet(l);
    if (r >= 0)
        return 0;
    log_debug("The system bus at %s: %s", l->m->places.system_bus_address, strerror(-r));
    l->bus = sd_bus_close_unref(l->bus);
    return retry_later(l);
}

int logind_new(Manager *m, Logind **ret)
{
    _cleanup_(logind_freep) Logind *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->m = m;
    l->inhibitor = -1;
    r = read_config(l);
    if (r == 0)
        r = connect_bus(l);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(l);
    return 0;
}

Logind *logind_free(Logind *l)
{
    if (!l)
        return NULL;
    sd_event_source_disable_unref(l->retry);
    sd_bus_close_unref(l->bus);
    drop_inhibitor(l);
    free(l);
    return NULL;
}
