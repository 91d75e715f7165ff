/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/agent/courier/courier-fixture.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/courier/courier.h"

#define BUS_USEC (300 * G_USEC_PER_SEC)

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    CourierFixture *f = userdata;
    GString *text;
    const char *s;
    uint64_t t;
    char type;

    if (sd_bus_message_is_signal(m, "org.hmsg.Courier1", NULL) <= 0)
        return 0;
    text = g_string_new(sd_bus_message_get_member(m));
    g_assert_cmpint(sd_bus_message_read(m, "s", &s), >, 0);
    g_assert_cmpstr(s, ==, f->name);
    while (sd_bus_message_peek_type(m, &type, NULL) > 0) {
        if (type == 's') {
            g_assert_cmpint(sd_bus_message_read(m, "s", &s), >, 0);
            g_string_append_printf(text, " %s", s);
        } else {
            g_assert_cmpint(sd_bus_message_read(m, "t", &t), >, 0);
            g_string_append_printf(text, " %" G_GUINT64_FORMAT, t);
        }
    }
    g_ptr_array_add(f->signals, g_string_free(text, FALSE));
    return 0;
}

static void start_program(CourierFixture *f, int fd)
{
    const char *program = g_getenv("HMSG_COURIER");
    const char *argv[] = {program, NULL};

    g_assert_nonnull(program);
    f->pid = fork();
    g_assert_cmpint(f->pid, >=, 0);
    if (f->pid > 0)
        return;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)dup2(STDERR_FILENO, STDOUT_FILENO); /* TAP stays clean */
    if (fd != 3)
        (void)dup2(fd, 3);
    else
        (void)fcntl(fd, F_SETFD, 0);
    (void)execv(program, (char *const *)(guintptr)argv);
    _exit(127);
}

void courier_start(CourierFixture *f, const char *relay)
{
    int pair[2];

    f->name = relay;
    f->signals = g_ptr_array_new_with_free_func(g_free);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    start_program(f, pair[1]);
    close(pair[1]);
    g_assert_cmpint(sd_bus_new(&f->bus), >=, 0);
    g_assert_cmpint(sd_bus_set_fd(f->bus, pair[0], pair[0]), >=, 0);
    g_assert_cmpint(sd_bus_negotiate_fds(f->bus, true), >=, 0);
    g_assert_cmpint(sd_bus_set_method_call_timeout(f->bus, BUS_USEC), >=, 0);
    g_assert_cmpint(sd_bus_add_filter(f->bus, NULL, on_message, f), >=, 0);
    g_assert_cmpint(sd_bus_start(f->bus), >=, 0);
}

void courier_stop(CourierFixture *f)
{
    int status;

    sd_bus_close_unref(f->bus);
    /* it ends by itself, and well: also the sanitizers have nothing to say */
    g_assert_cmpint(waitpid(f->pid, &status, 0), ==, f->pid);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
    g_ptr_array_unref(f->signals);
}

void courier_set_up_with(CourierFixture *f, const FakeRelayOptions *o)
{
    f->relay = fake_relay_new(o);
    courier_start(f, fake_relay_name(f->relay));
}

void courier_set_up(CourierFixture *f, gconstpointer data)
{
    courier_set_up_with(f, data);
}

void courier_tear_down(CourierFixture *f, gconstpointer data)
{
    courier_stop(f);
    fake_relay_free(f->relay);
}

/* Takes what has come. */
void courier_process(CourierFixture *f)
{
    while (sd_bus_process(f->bus, NULL) > 0)
        ;
}

bool courier_has_signal(CourierFixture *f, const char *text)
{
    courier_process(f);
    for (guint i = 0; i < f->signals->len; i++)
        if (g_str_has_prefix(g_ptr_array_index(f->signals, i), text))
            return true;
    return false;
}

guint courier_count_signals(CourierFixture *f)
{
    courier_process(f);
    return f->signals->len;
}

/* The reply; NULL: *ret_error is "Name message", where org.hmsg.Courier1.Error is left out. */
static sd_bus_message *call_any(CourierFixture *f, char **ret_error, const char *member, const char *types,
                                va_list ap)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *reply = NULL;
    const char *name;
    int r;

    r = sd_bus_call_methodv(f->bus, NULL, COURIER_PATH, COURIER_INTERFACE, member, &error, &reply, types, ap);
    if (r < 0) {
        g_assert_true(sd_bus_error_is_set(&error));
        g_assert_true(g_str_is_ascii(error.message));
        name = error.name;
        if (g_str_has_prefix(name, COURIER_INTERFACE ".Error."))
            name += strlen(COURIER_INTERFACE ".Error.");
        *ret_error = g_strdup_printf("%s %s", name, error.message);
    }
    sd_bus_error_free(&error);
    return reply;
}

/* Must succeed. To be unreferenced. */
sd_bus_message *courier_call(CourierFixture *f, const char *member, const char *types, ...)
{
    g_autofree char *error = NULL;
    sd_bus_message *reply;
    va_list ap;

    va_start(ap, types);
    reply = call_any(f, &error, member, types, ap);
    va_end(ap);
    if (!reply)
        g_error("%s: %s", member, error);
    return reply;
}

/* Must fail with an error that begins so. */
void courier_fail(CourierFixture *f, const char *expected, const char *member, const char *types, ...)
{
    g_autofree char *error = NULL;
    sd_bus_message *reply;
    va_list ap;

    va_start(ap, types);
    reply = call_any(f, &error, member, types, ap);
    va_end(ap);
    g_assert_null(reply);
    if (!g_str_has_prefix(error, expected))
        g_error("%s: %s instead of %s", member, error, expected);
}

void courier_check_strings(sd_bus_message *reply, unsigned n, const char *const *expected)
{
    const char *s;

    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpint(sd_bus_message_read(reply, "s", &s), >, 0);
        g_assert_cmpstr(s, ==, expected[i]);
    }
    sd_bus_message_unref(reply);
}

void courier_check_bytes(sd_bus_message *reply, const void *expected, size_t size)
{
    const void *data;
    size_t n;

    g_assert_cmpint(sd_bus_message_read_array(reply, 'y', &data, &n), >, 0);
    g_assert_cmpmem(data, n, expected, size);
}

void courier_check_sent(CourierFixture *f, const char *request, const char *expected)
{
    GBytes *b = fake_relay_body(f->relay, request);

    g_assert_nonnull(b);
    g_assert_cmpmem(g_bytes_get_data(b, NULL), g_bytes_get_size(b), expected, strlen(expected));
    g_bytes_unref(b);
}

void courier_log_in(CourierFixture *f)
{
    static const char *const expected[] = {"r.e.s", "r.l.y"};

    fake_relay_set_json(f->relay, "POST /v1/logins", 200,
                        "{\"response\":\"r.e.s\",\"relay\":\"r.l.y\",\"new\":1}");
    courier_check_strings(courier_call(f, "Login", "ss", f->name, "q.q.q"), 2, expected);
}

void courier_nonce(CourierFixture *f)
{
    guint8 exporter[32];
    sd_bus_message *reply;

    fake_relay_set_json(f->relay, "POST /v1/nonces", 200, "{\"nonce\":" HASH "}");
    reply = courier_call(f, "Nonce", "s", f->name);
    fake_relay_exporter(f->relay, exporter);
    courier_check_bytes(reply, NONCE, 32);
    courier_check_bytes(reply, exporter, sizeof(exporter));
    sd_bus_message_unref(reply);
}

int courier_file_of(const void *data, size_t size)
{
    int fd = memfd_create("body", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, data, size), ==, (gssize)size);
    return fd;
}

guint8 *courier_random_body(gsize size)
{
    guint8 *body = g_malloc(size);

    for (gsize i = 0; i < size; i++)
        body[i] = (guint8)(i * 2654435761u >> 13);
    return body;
}

void courier_listen_to(CourierFixture *f)
{
    const FakeAnswer stream = {
        .type = "text/event-stream", .body = "event: ready\ndata: {}\n\n", .size = -1, .mode = FAKE_OPEN};

    fake_relay_set(f->relay, "GET /v1/events", &stream);
    sd_bus_message_unref(courier_call(f, "Listen", "s", f->name));
    /* it was sent before the answer */
    g_assert_true(courier_has_signal(f, "Listening"));
    g_assert_cmpuint(fake_relay_open(f->relay), ==, 1);
}

void courier_push(CourierFixture *f, const char *text)
{
    fake_relay_push(f->relay, text, strlen(text));
}
