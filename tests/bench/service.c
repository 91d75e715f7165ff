/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "tests/bench/service.h"
#include "tests/lib/process.h"

struct Echo {
    pid_t pid;
    sd_bus *peer;
};

/* What an answer consists of, given the bytes of the call. */
typedef int (*append_t)(sd_bus_message *reply, const void *data, size_t size);

static int answer(sd_bus_message *call, bool has_options, append_t append)
{
    sd_bus_message *reply = NULL;
    const void *data = NULL;
    size_t size = 0;
    int r;

    r = sd_bus_message_read_array(call, 'y', &data, &size);
    if (r >= 0 && has_options)
        r = sd_bus_message_skip(call, "a{sv}");
    if (r >= 0)
        r = sd_bus_message_new_method_return(call, &reply);
    if (r >= 0)
        r = append(reply, data, size);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

static int append_same(sd_bus_message *reply, const void *data, size_t size)
{
    return sd_bus_message_append_array(reply, 'y', data, size);
}

static int method_echo(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
    return answer(call, false, append_same);
}

/* What Decrypt of a message answers, of the same types and sizes, without having opened anything. */
static int append_opened(sd_bus_message *reply, const void *data, size_t size)
{
    static const uint8_t plaintext[ANSWER_PLAINTEXT];
    static const char kid[] = "0123456789abcdefghijklmnopqrstuvwxyz0123456";
    int r;

    r = sd_bus_message_append_array(reply, 'y', plaintext, sizeof(plaintext));
    return r < 0 ? r
                 : sd_bus_message_append(reply, "a{sv}", 10, "sender", "s", kid, "sender_kid", "s", kid,
                                         "format", "s", "hmsg", "verified", "b", 1, "trusted", "b", 1,
                                         "cached", "b", 1, "replayed", "b", 1, "expired", "b", 0,
                                         "authenticated", "b", 1, "timestamp", "t", UINT64_C(1790000000));
}

static int method_answer(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
    return answer(call, true, append_opened);
}

static const sd_bus_vtable echo_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Answer", "aya{sv}", "aya{sv}", method_answer, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Echo", "ay", "ay", method_echo, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

static void check(int r)
{
    if (r < 0)
        g_error("the echo service: %s", g_strerror(-r));
}

static void serve(const char *address, int fd)
{
    sd_bus *bus = bench_bus_open(address), *peer = NULL;
    sd_event *event = NULL;
    sd_id128_t id;

    check(prctl(PR_SET_PDEATHSIG, SIGKILL));
    check(sd_event_new(&event));
    check(sd_id128_randomize(&id));
    check(sd_bus_new(&peer));
    check(sd_bus_set_fd(peer, fd, fd));
    check(sd_bus_set_server(peer, true, id));
    check(sd_bus_add_object_vtable(bus, NULL, ECHO_PATH, ECHO_NAME, echo_vtable, NULL));
    check(sd_bus_add_object_vtable(peer, NULL, ECHO_PATH, ECHO_NAME, echo_vtable, NULL));
    check(sd_bus_start(peer));
    check(sd_bus_attach_event(bus, event, 0));
    check(sd_bus_attach_event(peer, event, 0));
    check(sd_bus_request_name(bus, ECHO_NAME, 0));
    check(sd_event_loop(event));
    _exit(0);
}

static bool answers(sd_bus *bus, const char *destination)
{
    sd_bus_message *call = NULL, *reply = NULL;
    int r;

    check(sd_bus_message_new_method_call(bus, &call, destination, ECHO_PATH, ECHO_NAME, "Echo"));
    check(sd_bus_message_append_array(call, 'y', "x", 1));
    r = sd_bus_call(bus, call, 0, NULL, &reply);
    sd_bus_message_unref(call);
    sd_bus_message_unref(reply);
    return r >= 0;
}

Echo *echo_new(const char *address)
{
    Echo *e = g_new0(Echo, 1);
    sd_bus *bus = NULL;
    int pair[2];

    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
    e->pid = fork();
    check(e->pid);
    if (e->pid == 0) {
        close(pair[0]);
        serve(address, pair[1]);
    }
    close(pair[1]);
    e->peer = bench_peer_open(pair[0]);
    bus = bench_bus_open(address);
    TEST_AWAIT(answers(bus, ECHO_NAME));
    sd_bus_flush_close_unref(bus);
    return e;
}

void echo_free(Echo *e)
{
    sd_bus_flush_close_unref(e->peer);
    (void)kill(e->pid, SIGKILL);
    (void)waitpid(e->pid, NULL, 0);
    g_free(e);
}

pid_t echo_pid(const Echo *e)
{
    return e->pid;
}

sd_bus *echo_peer(const Echo *e)
{
    return e->peer;
}

sd_bus *bench_bus_open(const char *address)
{
    sd_bus *bus = NULL;

    check(sd_bus_new(&bus));
    check(sd_bus_set_address(bus, address));
    check(sd_bus_set_bus_client(bus, true));
    check(sd_bus_negotiate_fds(bus, true));
    check(sd_bus_start(bus));
    return bus;
}

sd_bus *bench_peer_open(int fd)
{
    sd_bus *bus = NULL;

    check(sd_bus_new(&bus));
    check(sd_bus_set_fd(bus, fd, fd));
    check(sd_bus_start(bus));
    return bus;
}
