/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/access.h"

#include <glib.h>
#include <string.h>

#include "agent/request.h"
#include "libhmsg/base/error.h"
#include "tests/lib/bus.h"
#include "tests/lib/process.h"

#define INTERFACE "org.hmsg.Test"
#define NAME "org.hmsg.Test"
#define ERROR_PREFIX "org.hmsg.Agent1.Error."
#define MANY 256u /* calls not yet answered, of one client */

/* Server and client in one event loop. */
typedef struct Fixture {
    char *folder;
    TestBus *bus;
    Manager m;
    Request *waiting; /* the last call of Wait */
    unsigned cancelled;
    sd_bus *client;
} Fixture;

static void on_cancel(void *userdata)
{
    Fixture *f = userdata;

    f->cancelled++;
    f->waiting = request_free(f->waiting);
}

static int method_wait(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
    Fixture *f = userdata;
    int r = request_new(f->m.access, call, on_cancel, f, &f->waiting);

    if (r != 0)
        return sd_bus_error_set(error, error_dbus_name(r), "refused");
    return 1;
}

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Wait", "", "s", method_wait, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

static sd_bus *connect_bus(Fixture *f)
{
    sd_bus *bus = NULL;

    g_assert_cmpint(sd_bus_new(&bus), >=, 0);
    g_assert_cmpint(sd_bus_set_address(bus, test_bus_address(f->bus)), >=, 0);
    g_assert_cmpint(sd_bus_set_bus_client(bus, true), >=, 0);
    g_assert_cmpint(sd_bus_start(bus), >=, 0);
    g_assert_cmpint(sd_bus_attach_event(bus, f->m.event, 0), >=, 0);
    return bus;
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->bus = test_bus_new(f->folder);
    g_assert_cmpint(sd_event_new(&f->m.event), >=, 0);
    f->m.bus = connect_bus(f);
    g_assert_cmpint(access_new(&f->m, &f->m.access), ==, 0);
    g_assert_cmpint(access_watch_bus(f->m.access, f->m.bus), >=, 0);
    g_assert_cmpint(sd_bus_add_object_vtable(f->m.bus, NULL, AGENT_OBJECT_PATH, INTERFACE, vtable, f), >=, 0);
    g_assert_cmpint(sd_bus_request_name(f->m.bus, NAME, 0), >=, 0);
    f->client = connect_bus(f);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    request_free(f->waiting);
    access_free(f->m.access);
    sd_bus_close_unref(f->client);
    sd_bus_close_unref(f->m.bus);
    sd_event_unref(f->m.event);
    test_bus_free(f->bus);
    test_folder_remove(f->folder);
}

typedef struct Answer {
    unsigned n;
    char *text, *error;
} Answer;

static void answer_clear(Answer *a)
{
    g_free(a->text);
    g_free(a->error);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Answer, answer_clear)

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const sd_bus_error *e = sd_bus_message_get_error(reply);
    Answer *a = userdata;
    const char *text = NULL;

    a->n++;
    if (e)
        a->error = g_strdup(e->name);
    else if (sd_bus_message_read(reply, "s", &text) > 0)
        a->text = g_strdup(text);
    return 0;
}

static void begin(sd_bus *client, Answer *a)
{
    g_assert_cmpint(
        sd_bus_call_method_async(client, NULL, NAME, AGENT_OBJECT_PATH, INTERFACE, "Wait", on_answer, a, ""),
        >=, 0);
}

#define RUN_UNTIL(f, condition)                                                                              \
    while (!(condition))                                                                                     \
    g_assert_cmpint(sd_event_run((f)->m.event, UINT64_MAX), >=, 0)

static void test_reply(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    begin(f->client, &a);
    RUN_UNTIL(f, f->waiting);
    g_assert_nonnull(request_message(f->waiting));
    g_assert_cmpint(request_reply(f->waiting, "s", "hello"), ==, 0);
    f->waiting = request_free(f->waiting);
    RUN_UNTIL(f, a.n);
    g_assert_cmpstr(a.text, ==, "hello");
    g_assert_cmpuint(f->cancelled, ==, 0);
}

static void test_fail(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    begin(f->client, &a);
    RUN_UNTIL(f, f->waiting);
    g_assert_cmpint(request_fail(f->waiting, HMSG_ERROR_LOCKED, ""), >=, 0);
    f->waiting = request_free(f->waiting);
    RUN_UNTIL(f, a.n);
    g_assert_cmpstr(a.error, ==, ERROR_PREFIX "Locked");
}

static void test_again(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    begin(f->client, &a);
    RUN_UNTIL(f, f->waiting);
    g_assert_cmpint(request_again(f->waiting), ==, 0);
    f->waiting = request_free(f->waiting);
    RUN_UNTIL(f, f->waiting); /* its method has it anew */
    g_assert_cmpuint(a.n, ==, 0);
    g_assert_cmpint(request_reply(f->waiting, "s", "in the end"), ==, 0);
    f->waiting = request_free(f->waiting);
    RUN_UNTIL(f, a.n);
    g_assert_cmpstr(a.text, ==, "in the end");
    g_assert_cmpuint(a.n, ==, 1);
}

/* Whoever forgets to answer does not leave the client waiting. */
static void test_unanswered(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    begin(f->client, &a);
    RUN_UNTIL(f, f->waiting);
    f->waiting = request_free(f->waiting);
    RUN_UNTIL(f, a.n);
    g_assert_cmpstr(a.error, ==, ERROR_PREFIX "Cancelled");
}

static void test_leave(Fixture *f, gconstpointer data)
{
    sd_bus *other = connect_bus(f);
    g_auto(Answer) a = {0};
    g_auto(Answer) b = {0};

    begin(other, &b);
    RUN_UNTIL(f, f->waiting);
    sd_bus_close_unref(other);
    RUN_UNTIL(f, f->cancelled);
    g_assert_cmpuint(f->cancelled, ==, 1);
    g_assert_null(f->waiting);
    /* the other client is served as before */
    begin(f->client, &a);
    RUN_UNTIL(f, f->waiting);
    g_assert_cmpint(request_reply(f->waiting, "s", "here"), ==, 0);
    RUN_UNTIL(f, a.n);
    g_assert_cmpstr(a.text, ==, "here");
}

/* Nobody says of another that it has left. */
static void test_forged_leave(Fixture *f, gconstpointer data)
{
    sd_bus *forger = connect_bus(f);
    sd_bus_message *m = NULL;
    const char *server, *client;
    g_auto(Answer) a = {0};

    begin(f->client, &a);
    RUN_UNTIL(f, f->waiting);
    g_assert_cmpint(sd_bus_get_unique_name(f->m.bus, &server), >=, 0);
    g_assert_cmpint(sd_bus_get_unique_name(f->client, &client), >=, 0);
    g_assert_cmpint(sd_bus_message_new_signal(forger, &m, "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                              "NameOwnerChanged"),
                    >=, 0);
    g_assert_cmpint(sd_bus_message_set_destination(m, server), >=, 0);
    g_assert_cmpint(sd_bus_message_append(m, "sss", client, client, ""), >=, 0);
    g_assert_cmpint(sd_bus_send(forger, m, NULL), >=, 0);
    sd_bus_message_unref(m);
    /* a call of the same client is heard after it */
    Request *first = g_steal_pointer(&f->waiting);
    g_auto(Answer) b = {0};
    begin(forger, &b);
    RUN_UNTIL(f, f->waiting);
    g_assert_cmpuint(f->cancelled, ==, 0);
    g_assert_cmpint(request_reply(first, "s", "here"), ==, 0);
    request_free(first);
    RUN_UNTIL(f, a.n);
    g_assert_cmpstr(a.text, ==, "here");
    sd_bus_close_unref(forger);
}

/* The end of the agent cancels as well. */
static void test_end(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    begin(f->client, &a);
    RUN_UNTIL(f, f->waiting);
    f->m.access = access_free(f->m.access);
    g_assert_cmpuint(f->cancelled, ==, 1);
    g_assert_null(f->waiting);
}

/* One client may not fill the agent. */
static void test_quota(Fixture *f, gconstpointer data)
{
    Request *held[MANY];
    g_auto(Answer) refused = {0};
    Answer waiting[MANY] = {0};

    for (unsigned i = 0; i < MANY; i++) {
        begin(f->client, &waiting[i]);
        RUN_UNTIL(f, f->waiting);
        held[i] = TAKE_PTR(f->waiting);
    }
    begin(f->client, &refused);
    RUN_UNTIL(f, refused.n);
    g_assert_cmpstr(refused.error, ==, ERROR_PREFIX "QuotaExceeded");
    for (unsigned i = 0; i < MANY; i++)
        request_free(held[i]);
    RUN_UNTIL(f, waiting[MANY - 1].n);
    for (unsigned i = 0; i < MANY; i++) {
        g_assert_cmpstr(waiting[i].error, ==, ERROR_PREFIX "Cancelled");
        answer_clear(&waiting[i]);
    }
}

static int on_progress(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    unsigned *n = userdata;
    const char *job;
    uint64_t done, total;

    g_assert_cmpint(sd_bus_message_read(m, "stt", &job, &done, &total), >, 0);
    g_assert_cmpstr(job, ==, "job");
    g_assert_cmpuint(done, ==, 1);
    g_assert_cmpuint(total, ==, 2);
    (*n)++;
    return 0;
}

/* To the client that named the job, and to nobody else. */
static void test_progress(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    g_auto(Answer) b = {0};
    sd_bus *other = connect_bus(f);
    unsigned seen = 0, overheard = 0;

    g_assert_cmpint(
        sd_bus_match_signal(f->client, NULL, NULL, NULL, AGENT_INTERFACE, "Progress", on_progress, &seen), >=,
        0);
    g_assert_cmpint(
        sd_bus_match_signal(other, NULL, NULL, NULL, AGENT_INTERFACE, "Progress", on_progress, &overheard),
        >=, 0);
    begin(f->client, &a);
    RUN_UNTIL(f, f->waiting);
    g_assert_cmpint(request_progress(f->waiting, NULL, 1, 2), ==, 0);
    g_assert_cmpint(request_progress(f->waiting, "", 1, 2), ==, 0);
    g_assert_cmpint(request_progress(f->waiting, "job", 1, 2), ==, 0);
    g_assert_cmpint(request_reply(f->waiting, "s", "done"), ==, 0);
    f->waiting = request_free(f->waiting);
    RUN_UNTIL(f, a.n);
    g_assert_cmpuint(seen, ==, 1);
    /* by the time that the other has its answer it would have had the signal */
    begin(other, &b);
    RUN_UNTIL(f, f->waiting);
    g_assert_cmpint(request_reply(f->waiting, "s", "done"), ==, 0);
    RUN_UNTIL(f, b.n);
    g_assert_cmpuint(overheard, ==, 0);
    sd_bus_close_unref(other);
}

static void add(const char *path, void (*f)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, NULL, set_up, f, tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("/agent/access/reply", test_reply);
    add("/agent/access/fail", test_fail);
    add("/agent/access/again", test_again);
    add("/agent/access/unanswered", test_unanswered);
    add("/agent/access/leave", test_leave);
    add("/agent/access/forged-leave", test_forged_leave);
    add("/agent/access/end", test_end);
    add("/agent/access/quota", test_quota);
    add("/agent/access/progress", test_progress);
    return g_test_run();
}
