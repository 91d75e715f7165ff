/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The program itself against a relay that says what it should. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/courier/calls.h"
#include "agent/courier/connection.h"
#include "agent/courier/listen.h"
#include "agent/courier/problem.h"
#include "libhmsg/wire/limits.h"
#include "tests/unit/agent/courier/courier-fixture.h"

static void test_relay(CourierFixture *f, gconstpointer data)
{
    static const char *const relay[] = {"r.l.y", ""}, *const changed[] = {"r.l.y", "[\"a.b.c\"]"};
    uint64_t message_bytes, attachment_bytes;
    sd_bus_message *reply;

    fake_relay_set_json(
        f->relay, "GET /v1/relay", 200,
        "{\"relay\":\"r.l.y\",\"message_bytes\":65536,\"attachment_bytes\":1048576,\"version\":\"1\"}");
    reply = courier_call(f, "Relay", "s", f->name);
    g_assert_cmpint(sd_bus_message_skip(reply, "s"), >, 0);
    g_assert_cmpint(sd_bus_message_read(reply, "tt", &message_bytes, &attachment_bytes), >, 0);
    g_assert_cmpuint(message_bytes, ==, 65536);
    g_assert_cmpuint(attachment_bytes, ==, 1048576);
    sd_bus_message_unref(reply);
    reply = courier_call(f, "Probe", "s", fake_relay_host_port(f->relay));
    courier_check_bytes(reply, fake_relay_chain(f->relay)->pin, 32);
    courier_check_strings(reply, 2, relay);
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 2);
    /* what it says of its former keys goes on as it is, unless it is of another form */
    fake_relay_set_json(f->relay, "GET /v1/relay", 200,
                        "{\"relay\":\"r.l.y\",\"successions\": [ \"a.b.c\" ]}");
    reply = courier_call(f, "Probe", "s", fake_relay_host_port(f->relay));
    courier_check_bytes(reply, fake_relay_chain(f->relay)->pin, 32);
    courier_check_strings(reply, 2, changed);
    fake_relay_set_json(f->relay, "GET /v1/relay", 200, "{\"relay\":\"r.l.y\",\"successions\":1}");
    courier_fail(f, "Protocol", "Probe", "s", fake_relay_host_port(f->relay));
    g_assert_cmpuint(courier_count_signals(f), ==, 0);
}

static sd_bus_message *register_with(CourierFixture *f, const char *option, const char *value)
{
    sd_bus_message *m = NULL, *reply = NULL;
    const guint8 answer[32] = {0};

    g_assert_cmpint(
        sd_bus_message_new_method_call(f->bus, &m, NULL, COURIER_PATH, COURIER_INTERFACE, "Register"), >=, 0);
    g_assert_cmpint(sd_bus_message_append(m, "sss", f->name, "s.t.m", "q.q.q"), >=, 0);
    g_assert_cmpint(sd_bus_message_append_array(m, 'y', answer, sizeof(answer)), >=, 0);
    g_assert_cmpint(sd_bus_message_append(m, "a{sv}", 1, option, "s", value), >=, 0);
    (void)sd_bus_call(f->bus, m, 0, NULL, &reply);
    sd_bus_message_unref(m);
    return reply;
}

static sd_bus_message *rotate_with(CourierFixture *f, const char *steps)
{
    sd_bus_message *m = NULL, *reply = NULL;
    const guint8 answer[32] = {0};

    g_assert_cmpint(
        sd_bus_message_new_method_call(f->bus, &m, NULL, COURIER_PATH, COURIER_INTERFACE, "Rotate"), >=, 0);
    g_assert_cmpint(sd_bus_message_append(m, "sss", f->name, "s.t.m", "q.q.q"), >=, 0);
    g_assert_cmpint(sd_bus_message_append_array(m, 'y', answer, sizeof(answer)), >=, 0);
    g_assert_cmpint(sd_bus_message_append(m, "s", steps), >=, 0);
    (void)sd_bus_call(f->bus, m, 0, NULL, &reply);
    sd_bus_message_unref(m);
    return reply;
}

static void test_directory(CourierFixture *f, gconstpointer data)
{
    static const char *const registered[] = {"b.n.d", "r.l.y"};
    static const char *const found[] = {"s.t.m", "b.n.d", "r.l.y", "[]"};
    static const char *const found_led[] = {"s.t.m", "b.n.d", "r.l.y", "[{\"from\":\"a.b.c\"}]"};
    const char *lookup = "{\"statement\":\"s.t.m\",\"binding\":\"b.n.d\",\"relay\":\"r.l.y\"}";
    const char *led =
        "{\"statement\":\"s.t.m\",\"binding\":\"b.n.d\",\"relay\":\"r.l.y\",\"chain\":[{\"from\":"
        "\"a.b.c\"}]}";
    const char *bad_chain =
        "{\"statement\":\"s.t.m\",\"binding\":\"b.n.d\",\"relay\":\"r.l.y\",\"chain\":{}}";
    const FakeAnswer gone = {.status = 204};
    sd_bus_message *reply;
    guint8 exporter[32];

    courier_nonce(f);
    fake_relay_set_json(f->relay, "POST /v1/challenges", 200, "{\"nonce\":" HASH ",\"pop\":\"cG9w\"}");
    reply = courier_call(f, "Challenge", "say", f->name, 3, 1, 2, 3);
    fake_relay_exporter(f->relay, exporter);
    courier_check_bytes(reply, NONCE, 32);
    courier_check_bytes(reply, "pop", 3);
    courier_check_bytes(reply, exporter, 32);
    sd_bus_message_unref(reply);
    courier_check_sent(f, "POST /v1/challenges", "{\"decrypt_spki\":\"AQID\"}");

    fake_relay_set_json(f->relay, "POST /v1/registrations", 201,
                        "{\"binding\":\"b.n.d\",\"relay\":\"r.l.y\"}");
    courier_check_strings(register_with(f, "invite", "come"), 2, registered);
    courier_check_sent(f, "POST /v1/registrations",
                       "{\"statement\":\"s.t.m\",\"request\":\"q.q.q\",\"answer\":\"" ID_A
                       "\",\"invite\":\"come\"}");
    g_assert_null(register_with(f, "other", "x"));
    fake_relay_set_json(f->relay, "POST /v1/rotations", 201, "{\"binding\":\"b.n.d\",\"relay\":\"r.l.y\"}");
    courier_check_strings(rotate_with(f, "[{\"rotate\":\"r.r.r\",\"sign\":\"AA\"}]"), 2, registered);
    courier_check_sent(f, "POST /v1/rotations",
                       "{\"statement\":\"s.t.m\",\"request\":\"q.q.q\",\"answer\":\"" ID_A
                       "\",\"steps\":[{\"rotate\":\"r.r.r\",\"sign\":\"AA\"}]}");
    g_assert_null(rotate_with(f, "{}"));
    g_assert_null(rotate_with(f, "[]x"));
    fake_relay_set_json(f->relay, "GET /v1/names/bob", 200, lookup);
    courier_check_strings(courier_call(f, "LookupName", "sss", f->name, "bob", ""), 4, found);
    fake_relay_set_json(f->relay, "GET /v1/keys/" ID_B, 200, lookup);
    courier_check_strings(courier_call(f, "LookupKid", "sss", f->name, ID_B, ""), 4, found);
    fake_relay_set_json(f->relay, "GET /v1/names/bob?from=" ID_A, 200, led);
    courier_check_strings(courier_call(f, "LookupName", "sss", f->name, "bob", ID_A), 4, found_led);
    fake_relay_set_json(f->relay, "GET /v1/names/bob?from=" ID_A, 200, bad_chain);
    courier_fail(f, "Protocol ", "LookupName", "sss", f->name, "bob", ID_A);
    courier_fail(f, "NotFound ", "LookupName", "sss", f->name, "carol", "");
    fake_relay_set(f->relay, "POST /v1/unregistrations", &gone);
    sd_bus_message_unref(courier_call(f, "Unregister", "ss", f->name, "q.q.q"));
    courier_check_sent(f, "POST /v1/unregistrations", "{\"request\":\"q.q.q\"}");
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 1);
}

static void test_submit(CourierFixture *f, gconstpointer data)
{
    static const char *const receipt[] = {"r.c.p", "r.l.y"};
    const char *request = "PUT /v1/mailboxes/" ID_A "/messages/" ID_B;
    g_autofree guint8 *body = courier_random_body(BODY_SIZE);
    int fd = courier_file_of(body, BODY_SIZE);
    g_autofree char *expires = NULL;
    GBytes *b;

    courier_log_in(f);
    fake_relay_set_json(f->relay, request, 201, "{\"receipt\":\"r.c.p\",\"relay\":\"r.l.y\"}");
    courier_check_strings(courier_call(f, "Submit", "ssshtts", f->name, ID_A, ID_B, fd,
                                       (uint64_t)BODY_SIZE - 1, (uint64_t)1234567890, ""),
                          2, receipt);
    b = fake_relay_body(f->relay, request);
    g_assert_cmpmem(g_bytes_get_data(b, NULL), g_bytes_get_size(b), body, BODY_SIZE - 1);
    g_bytes_unref(b);
    expires = fake_relay_header(f->relay, request, "hmsg-expires");
    g_assert_cmpstr(expires, ==, "1234567890");

    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL), ==, 0);
    courier_check_strings(
        courier_call(f, "Submit", "ssshtts", f->name, ID_A, ID_B, fd, (uint64_t)3, (uint64_t)0, ""), 2,
        receipt);
    b = fake_relay_body(f->relay, request);
    g_assert_cmpmem(g_bytes_get_data(b, NULL), g_bytes_get_size(b), body, 3);
    g_bytes_unref(b);
    g_assert_null(fake_relay_header(f->relay, request, "hmsg-expires"));

    fake_relay_set_json(f->relay, "GET /v1/submissions/" ID_B, 200, "{\"state\":\"delivered\"}");
    courier_check_strings(courier_call(f, "Status", "ss", f->name, ID_B), 1,
                          (const char *const[]){"delivered"});
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 1);
    close(fd);
}

static void test_list(CourierFixture *f, gconstpointer data)
{
    uint64_t seq, size, expires;
    const char *id, *submitter;
    sd_bus_message *reply;
    GString *all = g_string_new("{\"messages\":[");
    int more;

    courier_log_in(f);
    fake_relay_set_json(f->relay, "GET /v1/mailbox/messages?after=6", 200,
                        "{\"messages\":[{\"seq\":7,\"id\":\"" ID_A "\",\"size\":9,\"submitter\":\"" ID_B
                        "\",\"expires\":11}],\"more\":true}");
    reply = courier_call(f, "List", "st", f->name, (uint64_t)6);
    g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "(tstst)"), >, 0);
    g_assert_cmpint(sd_bus_message_read(reply, "(tstst)", &seq, &id, &size, &submitter, &expires), >, 0);
    g_assert_cmpuint(seq, ==, 7);
    g_assert_cmpstr(id, ==, ID_A);
    g_assert_cmpuint(size, ==, 9);
    g_assert_cmpstr(submitter, ==, ID_B);
    g_assert_cmpuint(expires, ==, 11);
    g_assert_cmpint(sd_bus_message_exit_container(reply), >, 0);
    g_assert_cmpint(sd_bus_message_read(reply, "b", &more), >, 0);
    g_assert_true(more);
    sd_bus_message_unref(reply);

    /* as many as there may be in one page, and one more */
    for (unsigned i = 0; i <= 1000; i++) {
        g_autofree char *text = g_strdup_printf("%s],\"more\":false}", all->str);

        if (i == 1000) {
            fake_relay_set_json(f->relay, "GET /v1/mailbox/messages?after=0", 200, text);
            sd_bus_message_unref(courier_call(f, "List", "st", f->name, (uint64_t)0));
        }
        g_string_append_printf(all,
                               "%s{\"seq\":%u,\"id\":\"" ID_A "\",\"size\":268435456,\"submitter\":\"" ID_B
                               "\",\"expires\":1999999999}",
                               i > 0 ? "," : "", 4000000000u + i);
    }
    g_string_append(all, "],\"more\":false}");
    fake_relay_set_json(f->relay, "GET /v1/mailbox/messages?after=0", 200, all->str);
    courier_fail(f, "Protocol ", "List", "st", f->name, (uint64_t)0);
    g_string_free(all, TRUE);
}

static void test_fetch(CourierFixture *f, gconstpointer data)
{
    const char *request = "GET /v1/mailbox/messages/" ID_A;
    g_autofree guint8 *body = courier_random_body(BODY_SIZE);
    FakeAnswer a = {.type = "application/octet-stream", .body = body, .size = BODY_SIZE};
    g_autofree guint8 *read_back = g_malloc(BODY_SIZE + 1);
    int fd = memfd_create("destination", MFD_CLOEXEC);
    sd_bus_message *reply;
    uint64_t size;

    courier_log_in(f);
    fake_relay_set(f->relay, request, &a);
    reply = courier_call(f, "Fetch", "ssh", f->name, ID_A, fd);
    g_assert_cmpint(sd_bus_message_read(reply, "t", &size), >, 0);
    g_assert_cmpuint(size, ==, BODY_SIZE);
    sd_bus_message_unref(reply);
    g_assert_cmpint(pread(fd, read_back, BODY_SIZE + 1, 0), ==, BODY_SIZE);
    g_assert_cmpmem(read_back, BODY_SIZE, body, BODY_SIZE);

    a.no_length = true;
    fake_relay_set(f->relay, request, &a);
    courier_fail(f, "Protocol ", "Fetch", "ssh", f->name, ID_A, fd);
    a.no_length = false;
    a.type = "text/html";
    fake_relay_set(f->relay, request, &a);
    courier_fail(f, "Protocol ", "Fetch", "ssh", f->name, ID_A, fd);
    a = (FakeAnswer){.type = "application/octet-stream",
                     .body = "x",
                     .size = 1,
                     .mode = FAKE_OPEN,
                     .name = "content-length",
                     .value = "99999999999"};
    fake_relay_set(f->relay, request, &a);
    courier_fail(f, "TooLarge ", "Fetch", "ssh", f->name, ID_A, fd);
    a.mode = FAKE_RESET;
    fake_relay_set(f->relay, request, &a);
    courier_fail(f, "Unreachable ", "Fetch", "ssh", f->name, ID_A, fd);
    courier_fail(f, "NotFound ", "Fetch", "ssh", f->name, ID_B, fd);
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 1);
    g_assert_cmpuint(courier_count_signals(f), ==, 0);
    close(fd);
}

static void test_acknowledge(CourierFixture *f, gconstpointer data)
{
    const char *request = "POST /v1/mailbox/acknowledgements";
    const guint8 mac[32] = {0};
    char **got = NULL;
    sd_bus_message *m = NULL, *reply = NULL;

    courier_log_in(f);
    fake_relay_set_json(f->relay, request, 200, "{\"acknowledged\":[\"" ID_B "\"]}");
    for (unsigned i = 0; i < 2; i++) {
        const char *const ids[] = {ID_A, i == 0 ? ID_B : ID_A, NULL};
        int r;

        g_assert_cmpint(
            sd_bus_message_new_method_call(f->bus, &m, NULL, COURIER_PATH, COURIER_INTERFACE, "Acknowledge"),
            >=, 0);
        g_assert_cmpint(sd_bus_message_append(m, "s", f->name), >=, 0);
        g_assert_cmpint(sd_bus_message_append_strv(m, (char **)(guintptr)ids), >=, 0);
        g_assert_cmpint(sd_bus_message_append_array(m, 'y', mac, sizeof(mac)), >=, 0);
        r = sd_bus_call(f->bus, m, 0, NULL, &reply);
        m = sd_bus_message_unref(m);
        /* the second time the relay names one that was not asked for */
        g_assert_true((r >= 0) == (i == 0));
        if (i > 0)
            continue;
        courier_check_sent(f, request, "{\"ids\":[\"" ID_A "\",\"" ID_B "\"],\"mac\":\"" ID_A "\"}");
        g_assert_cmpint(sd_bus_message_read_strv(reply, &got), >, 0);
        g_assert_cmpstr(got[0], ==, ID_B);
        g_assert_null(got[1]);
        for (char **s = got; *s; s++)
            free(*s);
        free(got);
        reply = sd_bus_message_unref(reply);
    }
}

static void test_listen(CourierFixture *f, gconstpointer data)
{
    courier_log_in(f);
    courier_listen_to(f);
    sd_bus_message_unref(courier_call(f, "Listen", "s", f->name));
    g_assert_cmpuint(fake_relay_open(f->relay), ==, 1);
    courier_push(f, ": alive\n\nevent: mail\ndata: {\"seq\":3,\"id\":\"" ID_A
                    "\",\"size\":5,\"submitter\":\"" ID_B "\"}\n\n");
    courier_push(f, "event: unknown\ndata: garbage\n\nevent: status\ndata: {\"id\":\"" ID_B
                    "\",\"state\":\"delivered\"}\n\n");
    TEST_AWAIT(courier_has_signal(f, "Status"));
    g_assert_true(courier_has_signal(f, "Mail 3 " ID_A " 5 " ID_B));
    g_assert_true(courier_has_signal(f, "Status " ID_B " delivered"));
    courier_nonce(f);
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 1);
    courier_push(f, "event: mail\ndata: {\"seq\":\"3\"}\n\n");
    TEST_AWAIT(courier_has_signal(f, "Disconnected The relay's answer is not of the documented form"));
    courier_fail(f, "LoginRequired ", "Listen", "s", f->name);
}

/* More than the agent takes at a time: it comes all the same, in order. */
static void test_flood(CourierFixture *f, gconstpointer data)
{
    const unsigned n = 30000;
    GString *events = g_string_new(NULL);

    courier_log_in(f);
    courier_listen_to(f);
    g_ptr_array_set_size(f->signals, 0);
    for (unsigned i = 0; i < n; i++)
        g_string_append_printf(events,
                               "event: mail\ndata: {\"seq\":%u,\"id\":\"" ID_A
                               "\",\"size\":5,\"submitter\":\"" ID_B "\"}\n\n",
                               i);
    fake_relay_push(f->relay, events->str, events->len);
    g_string_free(events, TRUE);
    g_usleep(G_USEC_PER_SEC / 2); /* time for it to fill the socket; the outcome is the same without */
    TEST_AWAIT(courier_count_signals(f) == n);
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *expected = g_strdup_printf("Mail %u " ID_A " 5 " ID_B, i);

        g_assert_cmpstr(g_ptr_array_index(f->signals, i), ==, expected);
    }
    courier_nonce(f);
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 1);
}

static void test_arguments(CourierFixture *f, gconstpointer data)
{
#define INVALID SD_BUS_ERROR_INVALID_ARGS
    g_autofree char *upper = g_strdup_printf("LOCALHOST:1#%s", fake_relay_chain(f->relay)->pin_text);
    const char *const names[] = {
        "",    "localhost",   "localhost:0#" ID_A, "localhost#" ID_A,          "localhost:1#x",
        upper, "a/b:1#" ID_A, "u@h:1#" ID_A,       "https://localhost:1#" ID_A};
    int pipe_fds[2], file = courier_file_of("abc", 3), read_only;
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", file);

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        courier_fail(f, INVALID, "Nonce", "s", names[i]);
    courier_fail(f, INVALID, "Probe", "s", f->name);
    courier_fail(f, INVALID, "Probe", "s", "");
    courier_fail(f, INVALID, "Challenge", "say", f->name, 0);
    courier_fail(f, INVALID, "Login", "ss", f->name, "not a jws");
    courier_fail(f, INVALID, "Login", "ss", f->name, "");
    courier_fail(f, INVALID, "Unregister", "ss", f->name, "\n");
    courier_fail(f, INVALID, "LookupName", "sss", f->name, "../keys", "");
    courier_fail(f, INVALID, "LookupName", "sss", f->name, "a b", "");
    courier_fail(f, INVALID, "LookupName", "sss", f->name, "bob", "&x=y");
    courier_fail(f, INVALID, "LookupKid", "sss", f->name, "short", "");
    courier_fail(f, INVALID, "Register", "sssaya{sv}", f->name, "a", "b", 3, 0, 0, 0, 0);
    courier_fail(f, INVALID, "Status", "ss", f->name, "x");
    courier_fail(f, INVALID, "Acknowledge", "sasay", f->name, 0, 0);
    courier_fail(f, INVALID, "Acknowledge", "sasay", f->name, 1, ID_A, 3, 1, 2, 3);
    courier_fail(f, INVALID, "List", "st", f->name, UINT64_MAX);

    g_assert_cmpint(pipe2(pipe_fds, O_CLOEXEC), ==, 0);
    read_only = open(path, O_RDONLY | O_CLOEXEC);
    courier_fail(f, INVALID, "Submit", "ssshtts", f->name, ID_A, ID_B, pipe_fds[0], (uint64_t)1, (uint64_t)0,
                 "");
    courier_fail(f, INVALID, "Submit", "ssshtts", f->name, ID_A, ID_B, file, (uint64_t)4, (uint64_t)0, "");
    courier_fail(f, INVALID, "Submit", "ssshtts", f->name, ID_A, ID_B, file, UINT64_MAX, (uint64_t)0, "");
    courier_fail(f, INVALID, "Submit", "ssshtts", f->name, ID_A, ID_B, file, (uint64_t)0, (uint64_t)0, "");
    courier_fail(f, INVALID, "Submit", "ssshtts", f->name, "..", ID_B, file, (uint64_t)3, (uint64_t)0, "");
    courier_fail(f, INVALID, "Submit", "ssshtts", f->name, ID_A, ID_B, file, (uint64_t)3, UINT64_MAX, "");
    courier_fail(f, INVALID, "Fetch", "ssh", f->name, ID_A, pipe_fds[1]);
    courier_fail(f, INVALID, "Fetch", "ssh", f->name, ID_A, read_only);
    courier_fail(f, INVALID, "Fetch", "ssh", f->name, "..", file);

    courier_fail(f, "LoginRequired ", "Submit", "ssshtts", f->name, ID_A, ID_B, file, (uint64_t)3,
                 (uint64_t)0, "");
    courier_fail(f, "LoginRequired ", "Fetch", "ssh", f->name, ID_A, file);
    courier_fail(f, "LoginRequired ", "Status", "ss", f->name, ID_A);
    courier_fail(f, "LoginRequired ", "List", "st", f->name, (uint64_t)0);
    courier_fail(f, "LoginRequired ", "Listen", "s", f->name);
    sd_bus_message_unref(courier_call(f, "Forget", "s", f->name));
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 0);
    close(file);
    close(read_only);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
#undef INVALID
}

typedef struct Pending {
    unsigned done;
    char *error;
} Pending;

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    Pending *p = userdata;
    const sd_bus_error *e = sd_bus_message_get_error(m);

    p->done++;
    g_free(p->error);
    p->error = g_strdup(e ? e->name : "none");
    return 0;
}

static void test_side_by_side(CourierFixture *f, gconstpointer data)
{
    const FakeAnswer stall = {.mode = FAKE_STALL};
    Pending stalled = {0};

    fake_relay_set(f->relay, "GET /v1/names/slow", &stall);
    for (unsigned i = 0; i < 20; i++)
        g_assert_cmpint(sd_bus_call_method_async(f->bus, NULL, NULL, COURIER_PATH, COURIER_INTERFACE,
                                                 "LookupName", on_reply, &stalled, "sss", f->name, "slow",
                                                 ""),
                        >=, 0);
    for (unsigned i = 0; i < 20; i++)
        courier_nonce(f);
    TEST_AWAIT(fake_relay_requests(f->relay) == 40);
    courier_process(f);
    g_assert_cmpuint(stalled.done, ==, 0);
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 1);

    /* Forget ends them, and says nothing else */
    sd_bus_message_unref(courier_call(f, "Forget", "s", f->name));
    TEST_AWAIT(({
        courier_process(f);
        stalled.done == 20;
    }));
    g_assert_cmpstr(stalled.error, ==, PROBLEM_UNREACHABLE);
    g_free(stalled.error);
    g_assert_cmpuint(courier_count_signals(f), ==, 0);
    courier_nonce(f);
    g_assert_cmpuint(fake_relay_connections(f->relay), ==, 2);
}

/* The agent goes away with calls under way: tear_down sees that the program ends well. */
static void test_end(CourierFixture *f, gconstpointer data)
{
    const FakeAnswer stall = {.mode = FAKE_STALL};
    Pending stalled = {0};

    courier_log_in(f);
    courier_listen_to(f);
    fake_relay_set(f->relay, "GET /v1/names/slow", &stall);
    g_assert_cmpint(sd_bus_call_method_async(f->bus, NULL, NULL, COURIER_PATH, COURIER_INTERFACE,
                                             "LookupName", on_reply, &stalled, "sss", f->name, "slow", ""),
                    >=, 0);
    TEST_AWAIT(({
        courier_process(f);
        fake_relay_requests(f->relay) == 3;
    }));
    g_free(stalled.error);
}

static void check_arguments(GDBusArgInfo **ours, GDBusArgInfo **documented)
{
    for (; *documented; ours++, documented++) {
        g_assert_nonnull(*ours);
        g_assert_cmpstr((*ours)->name, ==, (*documented)->name);
        g_assert_cmpstr((*ours)->signature, ==, (*documented)->signature);
    }
    g_assert_null(*ours);
}

/* The program has the interface that is documented, no more and no less. */
static void test_interface(CourierFixture *f, gconstpointer data)
{
    g_autofree char *xml = NULL;
    sd_bus_message *reply = NULL;
    GDBusNodeInfo *node, *documented;
    GDBusInterfaceInfo *a, *b;
    const char *text;

    g_assert_true(g_file_get_contents(g_getenv("HMSG_COURIER_XML"), &xml, NULL, NULL));
    g_assert_cmpint(sd_bus_call_method(f->bus, NULL, COURIER_PATH, "org.freedesktop.DBus.Introspectable",
                                       "Introspect", NULL, &reply, NULL),
                    >=, 0);
    g_assert_cmpint(sd_bus_message_read(reply, "s", &text), >, 0);
    node = g_dbus_node_info_new_for_xml(text, NULL);
    documented = g_dbus_node_info_new_for_xml(xml, NULL);
    g_assert_true(node && documented);
    a = g_dbus_node_info_lookup_interface(node, COURIER_INTERFACE);
    b = g_dbus_node_info_lookup_interface(documented, COURIER_INTERFACE);
    g_assert_true(a && b);
    for (GDBusMethodInfo **m = a->methods; *m; m++)
        g_assert_nonnull(g_dbus_interface_info_lookup_method(b, (*m)->name));
    for (GDBusMethodInfo **m = b->methods; *m; m++) {
        GDBusMethodInfo *ours = g_dbus_interface_info_lookup_method(a, (*m)->name);

        g_test_message("%s", (*m)->name);
        g_assert_nonnull(ours);
        check_arguments(ours->in_args, (*m)->in_args);
        check_arguments(ours->out_args, (*m)->out_args);
    }
    for (GDBusSignalInfo **i = a->signals; *i; i++)
        g_assert_nonnull(g_dbus_interface_info_lookup_signal(b, (*i)->name));
    for (GDBusSignalInfo **i = b->signals; *i; i++) {
        GDBusSignalInfo *ours = g_dbus_interface_info_lookup_signal(a, (*i)->name);

        g_assert_nonnull(ours);
        check_arguments(ours->args, (*i)->args);
    }
    g_dbus_node_info_unref(node);
    g_dbus_node_info_unref(documented);
    sd_bus_message_unref(reply);
}

/* It is in its sandbox before it answers. */
static void test_confined(CourierFixture *f, gconstpointer data)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)f->pid);
    g_autofree char *status = NULL;

    g_assert_cmpint(
        sd_bus_call_method(f->bus, NULL, COURIER_PATH, "org.freedesktop.DBus.Peer", "Ping", NULL, NULL, ""),
        >=, 0);
    g_assert_true(g_file_get_contents(path, &status, NULL, NULL));
    g_assert_nonnull(strstr(status, "Seccomp:\t2\n"));
    g_assert_nonnull(strstr(status, "NoNewPrivs:\t1\n"));
}

static void test_limits_fit(void)
{
    /* the agent's calls end when the interface says; three missing comments are silence */
    g_assert_cmpuint(CALL_SECONDS, <=, 45);
    g_assert_cmpuint(LISTEN_READY_SECONDS, <=, 45);
    g_assert_cmpuint(MOVEMENT_SECONDS, ==, 60);
    g_assert_cmpuint(LISTEN_SILENCE_SECONDS, ==, 90);
    g_assert_cmpuint(LIST_ANSWER_SIZE_MAX, >=, LIST_MAX * 200);
}

static void test_usage(void)
{
    const char *program = g_getenv("HMSG_COURIER");
    const char *const alone[] = {program, NULL}, *const version[] = {program, "--version", NULL};
    g_autofree char *out = NULL;

    g_assert_cmpint(test_run(alone, NULL, NULL, NULL, NULL), ==, 2);
    g_assert_cmpint(test_run(version, NULL, NULL, &out, NULL), ==, 0);
    g_assert_true(g_str_has_prefix(out, "hmsg-courier "));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*f)(CourierFixture *f, gconstpointer data);
    } tests[] = {
        {"/courier/relay", test_relay},
        {"/courier/directory", test_directory},
        {"/courier/submit", test_submit},
        {"/courier/list", test_list},
        {"/courier/fetch", test_fetch},
        {"/courier/acknowledge", test_acknowledge},
        {"/courier/listen", test_listen},
        {"/courier/flood", test_flood},
        {"/courier/arguments", test_arguments},
        {"/courier/side-by-side", test_side_by_side},
        {"/courier/end", test_end},
        {"/courier/interface", test_interface},
        {"/courier/confined", test_confined},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, CourierFixture, NULL, courier_set_up, tests[i].f, courier_tear_down);
    g_test_add_func("/courier/limits", test_limits_fit);
    g_test_add_func("/courier/usage", test_usage);
    return g_test_run();
}
