/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A logind of our own on a bus of our own, in the same event loop; and an identity that only counts. */

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <unistd.h>

#include "agent/identity.h"
#include "agent/logind.h"
#include "libhmsg/base/error.h"
#include "tests/lib/bus.h"
#include "tests/lib/process.h"

#define LOGIN1 "org.freedesktop.login1"
#define LOGIN1_PATH "/org/freedesktop/login1"
#define OURS LOGIN1_PATH "/session/_31"
#define THEIRS LOGIN1_PATH "/session/_32"

typedef struct Scene {
    Manager m;
    char *folder;
    TestBus *bus;
    sd_bus *logind; /* the fake's connection */
    Logind *l;
    int inhibitor[2]; /* a pipe: the agent holds copies of its write end */
    unsigned n_inhibit, n_list;
    bool logged_in;
    unsigned n_lock, n_forget;
    int result; /* of both */
} Scene;

struct Identity {
    Scene *s;
};

int identity_lock(Identity *i)
{
    i->s->n_lock++;
    return i->s->result;
}

int identity_forget(Identity *i)
{
    i->s->n_forget++;
    return i->s->result;
}

static int method_inhibit(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *what, *who, *why, *mode;
    Scene *s = userdata;

    g_assert_cmpint(sd_bus_message_read(m, "ssss", &what, &who, &why, &mode), >=, 0);
    g_assert_cmpstr(what, ==, "sleep");
    g_assert_cmpstr(mode, ==, "delay");
    s->n_inhibit++;
    return sd_bus_reply_method_return(m, "h", s->inhibitor[1]);
}

static int method_list(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    Scene *s = userdata;

    s->n_list++;
    if (s->logged_in)
        return sd_bus_reply_method_return(m, "a(susso)", 2, "2", getuid() + 1, "them", "seat0", THEIRS, "1",
                                          getuid(), "us", "seat0", OURS);
    return sd_bus_reply_method_return(m, "a(susso)", 1, "2", getuid() + 1, "them", "seat0", THEIRS);
}

static int get_user(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    unsigned uid = getuid() + (g_str_equal(path, OURS) ? 0 : 1);

    return sd_bus_message_append(reply, "(uo)", uid, LOGIN1_PATH "/user/_1");
}

static const sd_bus_vtable manager_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Inhibit", "ssss", "h", method_inhibit, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("ListSessions", "", "a(susso)", method_list, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};
static const sd_bus_vtable session_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("User", "(uo)", get_user, 0, 0),
    SD_BUS_VTABLE_END,
};

static void check(int r)
{
    if (r < 0)
        g_error("%s", g_strerror(-r));
}

static void logind_appears(Scene *s)
{
    check(sd_bus_new(&s->logind));
    check(sd_bus_set_address(s->logind, test_bus_address(s->bus)));
    check(sd_bus_set_bus_client(s->logind, true));
    check(sd_bus_negotiate_fds(s->logind, true));
    check(sd_bus_start(s->logind));
    check(sd_bus_add_object_vtable(s->logind, NULL, LOGIN1_PATH, LOGIN1 ".Manager", manager_vtable, s));
    check(sd_bus_add_object_vtable(s->logind, NULL, OURS, LOGIN1 ".Session", session_vtable, s));
    check(sd_bus_add_object_vtable(s->logind, NULL, THEIRS, LOGIN1 ".Session", session_vtable, s));
    check(sd_bus_request_name(s->logind, LOGIN1, 0));
    check(sd_bus_attach_event(s->logind, s->m.event, 0));
}

static void turn(Scene *s)
{
    check(sd_event_run(s->m.event, 10000));
}

#define AWAIT(condition)                                                                                     \
    do {                                                                                                     \
        while (!(condition))                                                                                 \
            turn(s);                                                                                         \
    } while (0)

static int start(Scene *s)
{
    s->m.identity->s = s;
    return logind_new(&s->m, &s->l);
}

static void configure(Scene *s, const char *text)
{
    g_autofree char *path = g_build_filename(s->folder, "agent.conf", NULL);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    config_free(s->m.config);
    g_assert_cmpint(config_load(path, &s->m.config, NULL), ==, 0);
}

static void set_up(Scene *s, gconstpointer data)
{
    s->folder = test_folder_new();
    s->bus = test_bus_new(s->folder);
    check(sd_event_new(&s->m.event));
    g_assert_cmpint(config_new(&s->m.config), ==, 0);
    s->m.places.system_bus_address = g_strdup(test_bus_address(s->bus));
    s->m.identity = g_new0(Identity, 1);
    g_assert_cmpint(pipe2(s->inhibitor, O_CLOEXEC | O_NONBLOCK), ==, 0);
    s->logged_in = true;
}

static void tear_down(Scene *s, gconstpointer data)
{
    s->l = logind_free(s->l);
    sd_bus_flush_close_unref(s->logind);
    sd_event_unref(s->m.event);
    config_free(s->m.config);
    g_free(s->m.identity);
    g_free(s->m.places.system_bus_address);
    close(s->inhibitor[0]);
    if (s->inhibitor[1] >= 0)
        close(s->inhibitor[1]);
    test_bus_free(s->bus);
    test_folder_remove(s->folder);
}

static void say(Scene *s, const char *path, const char *interface, const char *member, const char *types, ...)
{
    sd_bus_message *m = NULL;
    va_list ap;

    check(sd_bus_message_new_signal(s->logind, &m, path, interface, member));
    va_start(ap, types);
    check(sd_bus_message_appendv(m, types, ap));
    va_end(ap);
    check(sd_bus_send(s->logind, m, NULL));
    sd_bus_message_unref(m);
}

/* Whatever was said before has been heard after this. */
static void settle(Scene *s)
{
    unsigned before = s->n_list;

    say(s, LOGIN1_PATH, LOGIN1 ".Manager", "SessionNew", "so", "3", THEIRS);
    AWAIT(s->n_list > before);
    for (unsigned i = 0; i < 5; i++)
        turn(s);
}

static void sleep_begins(Scene *s, bool begins)
{
    say(s, LOGIN1_PATH, LOGIN1 ".Manager", "PrepareForSleep", "b", (int)begins);
}

static bool inhibitor_is_held(Scene *s)
{
    char byte;

    if (s->inhibitor[1] >= 0)
        s->inhibitor[1] = (close(s->inhibitor[1]), -1);
    return read(s->inhibitor[0], &byte, 1) < 0 && errno == EAGAIN;
}

/* The agent lets suspend begin only after it has erased. */
static void test_suspend(Scene *s, gconstpointer data)
{
    logind_appears(s);
    check(start(s));
    AWAIT(s->n_inhibit == 1);
    settle(s);
    g_assert_true(inhibitor_is_held(s));
    sleep_begins(s, true);
    AWAIT(s->n_forget == 1);
    g_assert_false(inhibitor_is_held(s));
    g_assert_cmpint(pipe2(s->inhibitor, O_CLOEXEC | O_NONBLOCK), ==, 0);
    sleep_begins(s, false);
    AWAIT(s->n_inhibit == 2);
    g_assert_cmpuint(s->n_forget, ==, 1);
    g_assert_cmpuint(s->n_lock, ==, 0);
}

static void test_screen(Scene *s, gconstpointer data)
{
    configure(s, "[lock]\nscreen = lock\nsuspend = no\n");
    logind_appears(s);
    check(start(s));
    AWAIT(s->n_list > 0);
    say(s, THEIRS, LOGIN1 ".Session", "Lock", "");
    settle(s);
    g_assert_cmpuint(s->n_lock, ==, 0);
    say(s, OURS, LOGIN1 ".Session", "Lock", "");
    AWAIT(s->n_lock == 1);
    say(s, OURS, LOGIN1 ".Session", "Unlock", "");
    say(s, OURS, "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as", LOGIN1 ".Session", 2,
        "IdleHint", "b", 1, "LockedHint", "b", 0, 0);
    settle(s);
    g_assert_cmpuint(s->n_lock, ==, 1);
    say(s, OURS, "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as", LOGIN1 ".Session", 2,
        "IdleHint", "b", 1, "LockedHint", "b", 1, 0);
    AWAIT(s->n_lock == 2);
    /* what cannot be read means nothing */
    say(s, OURS, "org.freedesktop.DBus.Properties", "PropertiesChanged", "s", LOGIN1 ".Session");
    sleep_begins(s, true);
    settle(s);
    g_assert_cmpuint(s->n_lock, ==, 2);
    g_assert_cmpuint(s->n_forget, ==, 0);
    g_assert_cmpuint(s->n_inhibit, ==, 0); /* nothing to do before a suspend */
}

static void test_logout(Scene *s, gconstpointer data)
{
    logind_appears(s);
    check(start(s));
    AWAIT(s->n_list > 0);
    settle(s);
    say(s, LOGIN1_PATH, LOGIN1 ".Manager", "SessionRemoved", "so", "9", THEIRS);
    settle(s);
    g_assert_cmpuint(s->n_forget, ==, 0);
    s->logged_in = false;
    say(s, LOGIN1_PATH, LOGIN1 ".Manager", "SessionRemoved", "so", "1", OURS);
    AWAIT(s->n_forget == 1);
    settle(s); /* and not again with each session of others that ends */
    g_assert_cmpuint(s->n_forget, ==, 1);
}

static void test_failure(Scene *s, gconstpointer data)
{
    s->result = -EIO;
    logind_appears(s);
    check(start(s));
    AWAIT(s->n_inhibit == 1);
    sleep_begins(s, true);
    AWAIT(s->n_forget == 1);
    s->result = HMSG_ERROR_NO_IDENTITY;
    sleep_begins(s, true);
    AWAIT(s->n_forget == 2);
}

/* It is found when it comes, and when it comes again. */
static void test_late(Scene *s, gconstpointer data)
{
    check(start(s));
    for (unsigned i = 0; i < 5; i++)
        turn(s);
    logind_appears(s);
    AWAIT(s->n_inhibit == 1);
    s->logind = sd_bus_flush_close_unref(s->logind);
    logind_appears(s);
    AWAIT(s->n_inhibit == 2);
    sleep_begins(s, true);
    AWAIT(s->n_forget == 1);
}

/* The only other client of this bus. */
static void say_forged(sd_bus *forger, const char *to, const char *path, const char *interface,
                       const char *member, const char *types, ...)
{
    sd_bus_message *m = NULL;
    va_list ap;

    check(sd_bus_message_new_signal(forger, &m, path, interface, member));
    check(sd_bus_message_set_destination(m, to));
    va_start(ap, types);
    check(sd_bus_message_appendv(m, types, ap));
    va_end(ap);
    check(sd_bus_send(forger, m, NULL));
    check(sd_bus_flush(forger));
    sd_bus_message_unref(m);
}

/* Anybody may send us signals: only those of logind count. */
static void test_forged(Scene *s, gconstpointer data)
{
    sd_bus *forger = NULL;

    logind_appears(s);
    check(start(s));
    AWAIT(s->n_inhibit == 1);
    settle(s);
    check(sd_bus_new(&forger));
    check(sd_bus_set_address(forger, test_bus_address(s->bus)));
    check(sd_bus_set_bus_client(forger, true));
    check(sd_bus_start(forger));
    for (unsigned i = 1; i < 5; i++) { /* unique names: ours is among them */
        g_autofree char *to = g_strdup_printf(":1.%u", i);

        say_forged(forger, to, LOGIN1_PATH, LOGIN1 ".Manager", "PrepareForSleep", "b", 1);
        say_forged(forger, to, OURS, LOGIN1 ".Session", "Lock", "");
        say_forged(forger, to, "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged", "sss",
                   LOGIN1, "", ":1.9");
    }
    settle(s);
    g_assert_cmpuint(s->n_forget, ==, 0);
    g_assert_cmpuint(s->n_inhibit, ==, 1);
    g_assert_true(inhibitor_is_held(s));
    sd_bus_flush_close_unref(forger);
}

static void test_no_bus(Scene *s, gconstpointer data)
{
    g_free(s->m.places.system_bus_address);
    s->m.places.system_bus_address = g_strdup("unix:path=/nonexistent/bus");
    check(start(s));
    turn(s);
}

static void test_bus_ends(Scene *s, gconstpointer data)
{
    logind_appears(s);
    check(start(s));
    AWAIT(s->n_inhibit == 1);
    settle(s);
    g_assert_true(inhibitor_is_held(s));
    s->logind = sd_bus_flush_close_unref(s->logind);
    test_bus_free(s->bus);
    AWAIT(!inhibitor_is_held(s));
    s->bus = test_bus_new(s->folder);
}

static void test_config(Scene *s, gconstpointer data)
{
    configure(s, "[lock]\nsuspend = perhaps\n");
    g_assert_cmpint(start(s), ==, -EINVAL);
    g_assert_null(s->l);
}

#define ADD(path, test) g_test_add("/agent/logind/" path, Scene, NULL, set_up, test, tear_down)

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    ADD("suspend", test_suspend);
    ADD("screen", test_screen);
    ADD("logout", test_logout);
    ADD("failure", test_failure);
    ADD("late", test_late);
    ADD("forged", test_forged);
    ADD("no-bus", test_no_bus);
    ADD("bus-ends", test_bus_ends);
    ADD("config", test_config);
    return g_test_run();
}
