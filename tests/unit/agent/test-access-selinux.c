/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/access.h"

#include <glib.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/lib/bus.h"
#include "tests/lib/process.h"
#include "tests/unit/agent/fake-selinux.h"

#define NAME "org.hmsg.Test"
#define DENIED "org.hmsg.Agent1.Error.Denied"

/* Server, client and a private channel between them, in one event loop. */
typedef struct Fixture {
    char *folder;
    TestBus *bus;
    Manager m;
    sd_bus *client;
    sd_bus *channel[2]; /* of the server, of the client */
} Fixture;

static int answer(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
    return sd_bus_reply_method_return(call, "");
}

static int answer_signed(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
    Fixture *f = userdata;
    int r = access_may_sign(f->m.access, call, error);

    return r < 0 ? r : sd_bus_reply_method_return(call, "");
}

static int open_channel(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
    Fixture *f = userdata;
    Client *rights = NULL;

    g_assert_cmpint(access_client(f->m.access, call, &rights), ==, 0);
    g_assert_cmpint(access_watch_channel(f->m.access, f->channel[0], rights), >=, 0);
    return sd_bus_reply_method_return(call, "");
}

static const sd_bus_vtable agent_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("OpenChannel", "", "", open_channel, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

static const sd_bus_vtable cipher_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Encrypt", "", "", answer_signed, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("EncryptFd", "", "", answer, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Decrypt", "", "", answer, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("New", "", "", answer, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

static void add_objects(Fixture *f, sd_bus *bus)
{
    g_assert_cmpint(sd_bus_add_object_vtable(bus, NULL, AGENT_OBJECT_PATH, AGENT_INTERFACE, agent_vtable, f),
                    >=, 0);
    g_assert_cmpint(
        sd_bus_add_object_vtable(bus, NULL, AGENT_OBJECT_PATH, AGENT_CIPHER_INTERFACE, cipher_vtable, f), >=,
        0);
}

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

static void connect_channel(Fixture *f)
{
    sd_id128_t id;
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), ==, 0);
    g_assert_cmpint(sd_id128_randomize(&id), >=, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(pair); i++) {
        g_assert_cmpint(sd_bus_new(&f->channel[i]), >=, 0);
        g_assert_cmpint(sd_bus_set_fd(f->channel[i], pair[i], pair[i]), >=, 0);
        if (i == 0)
            g_assert_cmpint(sd_bus_set_server(f->channel[i], 1, id), >=, 0);
        g_assert_cmpint(sd_bus_start(f->channel[i]), >=, 0);
        g_assert_cmpint(sd_bus_attach_event(f->channel[i], f->m.event, 0), >=, 0);
    }
}

static void set_up(Fixture *f, gconstpointer allowed)
{
    fake_selinux = (FakeSelinux){.enabled = 1, .enforcing = 1, .allowed = allowed};
    f->folder = test_folder_new();
    f->bus = test_bus_new(f->folder);
    g_assert_cmpint(sd_event_new(&f->m.event), >=, 0);
    f->m.bus = connect_bus(f);
    g_assert_cmpint(access_new(&f->m, &f->m.access), ==, 0);
    g_assert_cmpint(access_watch_bus(f->m.access, f->m.bus), >=, 0);
    add_objects(f, f->m.bus);
    g_assert_cmpint(sd_bus_request_name(f->m.bus, NAME, 0), >=, 0);
    f->client = connect_bus(f);
    connect_channel(f);
    add_objects(f, f->channel[0]);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    access_channel_closed(f->m.access, f->channel[0]);
    sd_bus_close_unref(f->channel[1]);
    sd_bus_close_unref(f->channel[0]);
    access_free(f->m.access);
    sd_bus_close_unref(f->client);
    sd_bus_close_unref(f->m.bus);
    sd_event_unref(f->m.event);
    test_bus_free(f->bus);
    test_folder_remove(f->folder);
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const sd_bus_error *e = sd_bus_message_get_error(reply);
    char **name = userdata;

    *name = g_strdup(e ? e->name : "");
    return 0;
}

/* error NULL: none */
static void ask(Fixture *f, sd_bus *client, const char *interface, const char *member, const char *error)
{
    g_autofree char *name = NULL;

    g_assert_cmpint(sd_bus_call_method_async(client, NULL, client == f->client ? NAME : NULL,
                                             AGENT_OBJECT_PATH, interface, member, on_answer, &name, ""),
                    >=, 0);
    while (!name)
        g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
    g_assert_cmpstr(name, ==, error ? error : "");
}

static void ask_cipher(Fixture *f, const char *member, const char *error)
{
    ask(f, f->client, AGENT_CIPHER_INTERFACE, member, error);
}

static void test_encrypt_only(Fixture *f, gconstpointer data)
{
    ask_cipher(f, "EncryptFd", NULL);
    ask_cipher(f, "Encrypt", DENIED); /* would sign */
    ask_cipher(f, "Decrypt", DENIED);
    ask_cipher(f, "New", DENIED);
    fake_selinux.allowed = "encrypt sign";
    ask_cipher(f, "Encrypt", NULL);
    ask_cipher(f, "Decrypt", DENIED);
}

/* The channel of a program can do what the program can, and no more. */
static void test_channel(Fixture *f, gconstpointer data)
{
    ask(f, f->client, AGENT_INTERFACE, "OpenChannel", NULL);
    ask(f, f->channel[1], AGENT_CIPHER_INTERFACE, "Decrypt", NULL);
    ask(f, f->channel[1], AGENT_CIPHER_INTERFACE, "Encrypt", DENIED);
    fake_selinux.allowed = "encrypt";
    ask(f, f->channel[1], AGENT_CIPHER_INTERFACE, "Decrypt", DENIED);
}

static void test_nothing(Fixture *f, gconstpointer data)
{
    ask(f, f->client, AGENT_INTERFACE, "OpenChannel", DENIED);
    ask(f, f->client, "org.freedesktop.DBus.Peer", "Ping", DENIED);
}

static void test_blind_bus(Fixture *f, gconstpointer data)
{
    fake_selinux.bus_is_blind = true;
    ask_cipher(f, "EncryptFd", DENIED);
    g_assert_cmpuint(fake_selinux.asked, ==, 0);
    fake_selinux.enforcing = 0;
    ask_cipher(f, "EncryptFd", NULL);
}

static void test_no_class(Fixture *f, gconstpointer data)
{
    fake_selinux.missing = "hmsg";
    ask_cipher(f, "EncryptFd", DENIED);
    fake_selinux.enforcing = 0;
    ask_cipher(f, "EncryptFd", NULL);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name, *allowed;
        void (*test)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/agent/access-selinux/encrypt-only", "encrypt", test_encrypt_only},
        {"/agent/access-selinux/channel", "encrypt decrypt", test_channel},
        {"/agent/access-selinux/nothing", "", test_nothing},
        {"/agent/access-selinux/blind-bus", "encrypt", test_blind_bus},
        {"/agent/access-selinux/no-class", "encrypt", test_no_class},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Fixture, tests[i].allowed, set_up, tests[i].test, tear_down);
    return g_test_run();
}
