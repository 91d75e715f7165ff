/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The program with PostgreSQL over TCP, of whose connections no packet arrives any more, in neither
 * direction, and none of which is closed: the address of the server goes, in a network of the test's own,
 * and comes again. */

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/wire/proof.h"
#include "tests/bench/relay-client.h"
#include "tests/lib/postgres.h"

#define ADDRESS "10.9.9.9"
#define ADDRESS_NUMBER 0x0a090909u
#define MONITOR 9473 /* nobody else is in this network */
#define MANY 40u
#define BODY_SIZE 64u
#define ROUNDS 2u

typedef struct Message {
    uint8_t id[ID_SIZE], body[BODY_SIZE];
    char *path;
    bool accepted;
    H2Answer answer;
} Message;

typedef struct Place {
    TestPostgres *server;
    BenchRelay relay;
    TestPerson *sender, *owner;
    H2 *in, *out;
    GPtrArray *messages;
} Place;

/* Not everywhere: then errno says why. */
static bool try_interface(const char *name, uint32_t address, bool up)
{
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = g_htonl(address)};
    struct ifreq r = {0};
    g_assert_cmpint(fd, >=, 0);
    g_strlcpy(r.ifr_name, name, sizeof(r.ifr_name));
    memcpy(&r.ifr_addr, &a, sizeof(a));
    bool done = address == 0 || ioctl(fd, SIOCSIFADDR, &r) == 0;
    memset(&r.ifr_ifru, 0, sizeof(r.ifr_ifru));
    r.ifr_flags = up ? IFF_UP : 0;
    done = done && ioctl(fd, SIOCSIFFLAGS, &r) == 0;
    (void)close(fd);
    return done;
}

static void set_interface(const char *name, uint32_t address, bool up)
{
    g_assert_true(try_interface(name, address, up));
}

static void cut(void)
{
    set_interface("lo:1", 0, false);
}

static void mend(void)
{
    set_interface("lo:1", ADDRESS_NUMBER, true);
}

static bool ready(void)
{
    static const char request[] = "GET /readyz HTTP/1.1\r\n\r\n";
    const struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_port = g_htons(MONITOR), .sin_addr.s_addr = g_htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char text[1024] = "";
    size_t size = 0;
    ssize_t n;
    g_assert_cmpint(connect(fd, (const struct sockaddr *)(const void *)&name, sizeof(name)), ==, 0);
    g_assert_cmpint(write(fd, request, strlen(request)), ==, (ssize_t)strlen(request));
    while ((n = read(fd, text + size, sizeof(text) - 1 - size)) > 0)
        size += (size_t)n;
    (void)close(fd);
    return g_str_has_prefix(text, "HTTP/1.1 200 ");
}

static void configure(const BenchRelay *b)
{
    g_autofree char *program = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
    g_autofree char *folder = g_build_filename(b->folder, "relay", NULL);
    g_autofree char *config = g_build_filename(folder, "relay.conf", NULL);
    const char *const argv[] = {program, "init", "--host", "127.0.0.1", folder, NULL};
    g_autofree char *text = g_strdup_printf(
        "[relay]\nhost = 127.0.0.1\nlisten = 127.0.0.1:0\nstore = postgres\n"
        "[postgres]\nconnection = host=" ADDRESS " user=hmsg dbname=postgres sslmode=disable\n"
        "[monitor]\nlisten = 127.0.0.1:%d\n",
        MONITOR);
    g_assert_cmpint(test_run(argv, NULL, NULL, NULL, NULL), ==, 0);
    g_assert_true(g_file_set_contents(config, text, -1, NULL));
}

static void log_in(Place *p)
{
    p->in = bench_relay_log_in(&p->relay, p->sender, NULL);
    p->out = bench_relay_log_in(&p->relay, p->owner, NULL);
}

static void log_out(Place *p)
{
    h2_close(p->in);
    h2_close(p->out);
}

static void message_free(gpointer data)
{
    Message *m = data;
    g_free(m->path);
    buf_done(&m->answer.body);
    g_free(m);
}

static Place place_new(void)
{
    Place p = {.server = test_postgres_new(NULL), .relay.folder = test_folder_new()};
    mend();
    test_postgres_listen(p.server, ADDRESS);
    configure(&p.relay);
    p.messages = g_ptr_array_new_with_free_func(message_free);
    p.sender = test_person_new();
    p.owner = test_person_new();
    bench_relay_start(&p.relay, "");
    H2 *h = h2_connect(p.relay.host, p.relay.port);
    bench_relay_enrol(&p.relay, h, p.sender, "sender");
    bench_relay_enrol(&p.relay, h, p.owner, "owner");
    h2_close(h);
    log_in(&p);
    return p;
}

static void place_done(Place *p)
{
    g_ptr_array_unref(p->messages);
    test_person_free(p->sender);
    test_person_free(p->owner);
    test_postgres_free(p->server);
    test_folder_remove(p->relay.folder);
}

static void send_again(const Place *p, Message *m)
{
    buf_done(&m->answer.body);
    m->answer = (H2Answer){0};
    h2_start(p->in, "PUT", m->path, "application/octet-stream", m->body, sizeof(m->body), &m->answer);
    h2_work(p->in);
}

static Message *send_new(const Place *p)
{
    Message *m = g_new0(Message, 1);
    char text[HASH_TEXT_SIZE];
    g_assert_cmpint(crypto_random(m->body, sizeof(m->body)), ==, 0);
    g_assert_cmpint(message_id(rsa_key_thumbprint(p->owner->decrypt), m->body, sizeof(m->body), m->id), ==,
                    0);
    base64url_encode(m->id, ID_SIZE, text);
    m->path = g_strdup_printf("/v1/mailboxes/%s/messages/%s", p->owner->kid, text);
    g_ptr_array_add(p->messages, m);
    send_again(p, m);
    return m;
}

/* The status: accepted, or to be sent again later. */
static int await(const Place *p, Message *m)
{
    h2_wait(p->in, &m->answer, true);
    const int status = m->answer.status;
    if (status != 200 && status != 201 && status != 503)
        g_error("%d %s", status, buf_text(&m->answer.body));
    m->accepted = m->accepted || status != 503;
    return status;
}

static bool arrives(const Place *p, Message *m)
{
    send_again(p, m);
    return await(p, m) != 503;
}

/* Everything that was accepted is there, once. */
static void check(const Place *p)
{
    H2Answer a = {0};
    for (bool read = false; !read;) {
        h2_start(p->out, "GET", "/v1/mailbox/messages", NULL, NULL, 0, &a);
        h2_wait(p->out, &a, true);
        read = a.status == 200;
        if (!read)
            buf_done(&a.body);
    }
    for (guint i = 0; i < p->messages->len; i++) {
        const Message *m = g_ptr_array_index(p->messages, i);
        const char *found = strstr(buf_text(&a.body), strrchr(m->path, '/') + 1);
        g_assert_true(found || !m->accepted);
        g_assert_null(found ? strstr(found + 1, strrchr(m->path, '/') + 1) : NULL);
    }
    buf_done(&a.body);
}

static void end(Place *p)
{
    int status = bench_relay_stop(&p->relay);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

/* While nothing is under way: whoever asks next is told so. */
static void test_idle(void)
{
    Place p = place_new();
    g_assert_cmpint(await(&p, send_new(&p)), ==, 201);
    g_assert_true(ready());
    cut();
    Message *m = send_new(&p);
    TEST_AWAIT(!ready());
    g_assert_cmpint(await(&p, m), ==, 503);
    g_assert_cmpint(await(&p, send_new(&p)), ==, 503);
    mend();
    TEST_AWAIT(ready());
    TEST_AWAIT(arrives(&p, m));
    check(&p);
    end(&p);
    log_out(&p);
    place_done(&p);
}

/* While many are: each is accepted or not, and what was accepted is there. */
static void test_busy(void)
{
    Place p = place_new();
    for (unsigned round = 0; round < ROUNDS; round++) {
        const guint first = p.messages->len;
        for (unsigned i = 0; i < MANY; i++) {
            (void)send_new(&p);
            if (i == MANY / 2)
                cut();
        }
        for (guint i = first; i < p.messages->len; i++)
            (void)await(&p, g_ptr_array_index(p.messages, i));
        mend();
        for (guint i = first; i < p.messages->len; i++)
            TEST_AWAIT(arrives(&p, g_ptr_array_index(p.messages, i)));
        check(&p);
    }
    end(&p);
    log_out(&p);
    place_done(&p);
}

static bool answer_is(const Place *p, const char *sql, const char *expected)
{
    g_autofree char *answer = test_postgres_ask(p->server, sql);
    return g_strcmp0(answer, expected) == 0;
}

static gpointer hold_messages(gpointer server)
{
    g_autofree char *answer =
        test_postgres_ask(server, "BEGIN; LOCK TABLE messages; SELECT pg_sleep(300); COMMIT");
    return NULL;
}

/* The server answers somebody who is away, and is in the middle of a transaction: what it has locked for him
 * is free again without him, for there may be other relays. */
static void test_locks(void)
{
    static const char waits[] =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hmsg-relay' AND wait_event_type ="
        " 'Lock'";
    static const char held[] =
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1213026898";
    static const char release[] =
        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    Place p = place_new();
    GThread *holder = g_thread_new("hold", hold_messages, p.server);
    TEST_AWAIT(answer_is(&p, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "1"));
    Message *m = send_new(&p);
    TEST_AWAIT(answer_is(&p, waits, "1") && answer_is(&p, held, "1"));
    cut();
    g_assert_true(answer_is(&p, release, "1"));
    (void)g_thread_join(holder);
    TEST_AWAIT(answer_is(&p, held, "0"));
    g_assert_cmpint(await(&p, m), ==, 503);
    mend();
    TEST_AWAIT(arrives(&p, m));
    check(&p);
    end(&p);
    log_out(&p);
    place_done(&p);
}

/* Told to end, the relay ends; the next one has what this one accepted. */
static void test_end(void)
{
    Place p = place_new();
    g_assert_cmpint(await(&p, send_new(&p)), ==, 201);
    cut();
    (void)send_new(&p);
    h2_let_go(p.in);
    h2_let_go(p.out);
    end(&p);
    log_out(&p);
    mend();
    bench_relay_start(&p.relay, "");
    log_in(&p);
    check(&p);
    log_out(&p);
    end(&p);
    place_done(&p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWNET | CLONE_NEWUSER) < 0 ||
        !try_interface("lo", 0, true) || !try_interface("lo:1", ADDRESS_NUMBER, true)) {
        g_print("1..0 # SKIP no network of its own: %s\n", g_strerror(errno));
        return 0;
    }
    g_test_add_func("/daemon-cut/idle", test_idle);
    g_test_add_func("/daemon-cut/busy", test_busy);
    g_test_add_func("/daemon-cut/locks", test_locks);
    g_test_add_func("/daemon-cut/end", test_end);
    return g_test_run();
}
