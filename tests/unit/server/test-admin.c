/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/admin.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/wire/json.h"
#include "server/admin-request.h"
#include "server/admin-socket.h"
#include "server/admin-write.h"
#include "tests/unit/server/store-util.h"

static const Relay relay = {.host = "relay.example", .port = 7443};

typedef struct Fixture {
    StoreFixture store;
    Admin admin;
    unsigned gone;
    json_t *facts; /* an array */
} Fixture;

static void gone(void *userdata, const uint8_t *skid)
{
    Fixture *f = userdata;
    g_assert_cmpmem(skid, KID_SIZE, test_skid(1), KID_SIZE);
    f->gone++;
}

static void set_up(Fixture *f, gconstpointer data)
{
    store_fixture_set_up(&f->store);
    f->admin = (Admin){f->store.store, f->store.reader, &relay, gone, f};
    f->facts = json_array();
    g_assert_cmpint(test_register(f->store.store, 1, "alice"), ==, 0);
    g_assert_cmpint(test_register(f->store.store, 2, "bob"), ==, 0);
    g_assert_cmpint(test_register(f->store.store, 3, ""), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    json_decref(f->facts);
    store_fixture_tear_down(&f->store);
}

static int keep(void *userdata, json_t *fact)
{
    Fixture *f = userdata;
    return json_array_append(f->facts, fact);
}

static int run(Fixture *f, AdminKind kind, const char *client, int64_t number)
{
    AdminRequest q = {.kind = kind, .uses = 2, .days = 3, .number = number};
    g_strlcpy(q.client, client ? client : "", sizeof(q.client));
    json_array_clear(f->facts);
    return admin_run(&f->admin, &q, keep, f);
}

static const char *text(const Fixture *f, size_t i, const char *name)
{
    return json_string_value(json_object_get(json_array_get(f->facts, i), name));
}

static int64_t number(const Fixture *f, size_t i, const char *name)
{
    const json_t *j = json_object_get(json_array_get(f->facts, i), name);
    g_assert_true(json_is_integer(j));
    return json_integer_value(j);
}

static bool blocked(const Fixture *f, size_t i)
{
    return json_is_true(json_object_get(json_array_get(f->facts, i), "blocked"));
}

static void test_clients(Fixture *f, gconstpointer data)
{
    char kid[BASE64URL_SIZE(KID_SIZE) + 1];
    StoreCounts counts = {};
    StoreWrite w;
    base64url_encode(test_kid(3), KID_SIZE, kid);
    g_assert_cmpint(test_put(f->store.store, 1, 2, 1000, "hello", 5, 2000, &w), ==, 0);
    g_assert_cmpint(run(f, ADMIN_CLIENT_LIST, NULL, 0), ==, 0);
    g_assert_cmpuint(json_array_size(f->facts), ==, 3);
    g_assert_cmpstr(text(f, 0, "address"), ==, "alice@relay.example");
    g_assert_cmpint(number(f, 0, "messages"), ==, 1);
    g_assert_cmpint(number(f, 0, "bytes"), ==, 5);
    g_assert_cmpstr(text(f, 2, "address"), ==, ""); /* a guest */
    g_assert_cmpstr(text(f, 2, "key"), ==, kid);
    g_assert_cmpint(run(f, ADMIN_CLIENT_BLOCK, "bob@relay.example", 0), ==, 0);
    g_assert_cmpint(run(f, ADMIN_CLIENT_BLOCK, kid, 0), ==, 0);
    g_assert_cmpint(run(f, ADMIN_CLIENT_LIST, NULL, 0), ==, 0);
    g_assert_true(!blocked(f, 0) && blocked(f, 1) && blocked(f, 2));
    g_assert_cmpint(run(f, ADMIN_CLIENT_UNBLOCK, kid, 0), ==, 0);
    g_assert_cmpint(run(f, ADMIN_CLIENT_SHOW, kid, 0), ==, 0);
    g_assert_false(blocked(f, 0));
    g_assert_cmpint(run(f, ADMIN_CLIENT_DELETE, "alice@relay.example", 0), ==, 0);
    g_assert_cmpuint(f->gone, ==, 1);
    g_assert_cmpint(run(f, ADMIN_CLIENT_SHOW, "alice@relay.example", 0), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(store_counts(f->store.reader, &counts), ==, 0);
    g_assert_cmpuint(counts.identities, ==, 2);
    g_assert_cmpuint(counts.messages, ==, 0);
    g_assert_cmpint(run(f, ADMIN_CLIENT_DELETE, "bob@other.example", 0), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(run(f, ADMIN_CLIENT_DELETE, "bob@relay.example:1", 0), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(run(f, ADMIN_CLIENT_DELETE, "bob", 0), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpstr(admin_problem(HMSG_ERROR_NOT_FOUND), !=, admin_problem(HMSG_ERROR_INVALID_ARGS));
}

static void test_invites(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(run(f, ADMIN_INVITE_CREATE, NULL, 0), ==, 0);
    g_assert_cmpuint(strlen(text(f, 0, "code")), ==, ADMIN_CODE_SIZE - 1);
    g_autofree char *first = g_strdup(text(f, 0, "code"));
    int64_t which = number(f, 0, "number");
    g_assert_cmpint(number(f, 0, "expires") - number(f, 0, "created"), ==, 3 * 86400);
    g_assert_cmpint(run(f, ADMIN_INVITE_CREATE, NULL, 0), ==, 0);
    g_assert_cmpstr(text(f, 0, "code"), !=, first);
    g_assert_cmpint(run(f, ADMIN_INVITE_LIST, NULL, 0), ==, 0);
    g_assert_cmpuint(json_array_size(f->facts), ==, 2);
    g_assert_null(text(f, 0, "code"));
    g_assert_cmpint(number(f, 0, "uses"), ==, 2);
    g_assert_cmpint(run(f, ADMIN_INVITE_REVOKE, NULL, which), ==, 0);
    g_assert_cmpint(run(f, ADMIN_INVITE_REVOKE, NULL, which), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(run(f, ADMIN_INVITE_LIST, NULL, 0), ==, 0);
    g_assert_cmpuint(json_array_size(f->facts), ==, 1);
}

static void test_request(void)
{
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"command\":\"client\"}",
        "{\"command\":1}",
        "{\"command\":\"client-list\",\"more\":1}",
        "{\"command\":\"client-show\"}",
        "{\"command\":\"client-show\",\"client\":7}",
        "{\"command\":\"invite-create\",\"uses\":0,\"days\":1}",
        "{\"command\":\"invite-create\",\"uses\":1,\"days\":367}",
        "{\"command\":\"invite-create\",\"uses\":1}",
        "{\"command\":\"invite-revoke\",\"number\":0}",
        "{\"command\":\"client-list\"} x",
    };
    AdminRequest q = {.kind = ADMIN_CLIENT_SHOW, .client = "alice@relay.example"}, again = {};
    _cleanup_(buf_done) Buf written = BUF_MAX(ADMIN_REQUEST_MAX);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_cmpint(admin_request_parse(bad[i], strlen(bad[i]), &again), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(admin_request_write(&q, &written), ==, 0);
    g_assert_cmpint(admin_request_parse(buf_text(&written), written.size, &again), ==, 0);
    g_assert_cmpint(again.kind, ==, q.kind);
    g_assert_cmpstr(again.client, ==, q.client);
}

static int ask(Fixture *f, AdminKind kind, const char *client, Buf *ret_error)
{
    AdminRequest q = {.kind = kind, .uses = 1, .days = 1};
    _cleanup_(fd_closep) int fd = -1;
    g_strlcpy(q.client, client ? client : "", sizeof(q.client));
    json_array_clear(f->facts);
    g_assert_cmpint(admin_socket_connect(f->store.folder, &fd), ==, 0);
    return admin_socket_ask(fd, &q, keep, f, ret_error);
}

/* What is no request closes the connection, and the next one is served. */
static void send_raw(Fixture *f, const char *words, size_t n)
{
    _cleanup_(fd_closep) int fd = -1;
    char answer[ADMIN_ANSWER_MAX];
    g_assert_cmpint(admin_socket_connect(f->store.folder, &fd), ==, 0);
    (void)!send(fd, words, n, MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    while (read(fd, answer, sizeof(answer)) > 0)
        g_assert_nonnull(memmem(answer, sizeof(answer), "error", 5));
}

static void test_socket(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf error = BUF_MAX(1000);
    g_autofree char *path = g_build_filename(f->store.folder, ADMIN_SOCKET_NAME, NULL);
    g_autofree char *large = g_strnfill(3 * ADMIN_REQUEST_MAX, '{');
    struct stat st;
    AdminSocket *s = NULL;
    int fd = -1;
    g_assert_cmpint(admin_socket_connect(f->store.folder, &fd), ==, -ENOENT);
    for (unsigned i = 0; i < 2; i++) { /* the second time over what the first one might have left */
        g_assert_cmpint(admin_socket_start(f->store.folder, &f->admin, &s), ==, 0);
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
        g_assert_cmpint(ask(f, ADMIN_CLIENT_LIST, NULL, &error), ==, 0);
        g_assert_cmpuint(json_array_size(f->facts), ==, 3);
        g_assert_cmpint(ask(f, ADMIN_CLIENT_SHOW, "carol@relay.example", &error), ==, HMSG_ERROR_BAD_PACKAGE);
        g_assert_cmpstr(buf_text(&error), ==, admin_problem(HMSG_ERROR_NOT_FOUND));
        buf_clear(&error);
        send_raw(f, "nonsense\n", 9);
        send_raw(f, large, strlen(large));
        send_raw(f, "", 0);
        g_assert_cmpint(ask(f, ADMIN_INVITE_CREATE, NULL, &error), ==, 0);
        g_assert_nonnull(text(f, 0, "code"));
        /* one who says nothing holds nobody up when it ends */
        g_assert_cmpint(admin_socket_connect(f->store.folder, &fd), ==, 0);
        s = admin_socket_stop(s);
        fd = fd_close(fd);
        g_assert_cmpint(admin_socket_connect(f->store.folder, &fd), ==, -ENOENT);
        if (i == 0) { /* of a relay that was killed */
            struct sockaddr_un a = {.sun_family = AF_UNIX};
            g_strlcpy(a.sun_path, path, sizeof(a.sun_path));
            int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            g_assert_cmpint(bind(stale, (const struct sockaddr *)&a, sizeof(a)), ==, 0);
            (void)fd_close(stale);
            g_assert_cmpint(admin_socket_connect(f->store.folder, &fd), ==, -ECONNREFUSED);
        }
    }
    g_autofree char *deep = g_strnfill(200, 'x');
    g_assert_cmpint(admin_socket_start(deep, &f->admin, &s), ==, -ENAMETOOLONG);
}

typedef struct Slow {
    Fixture *f;
    AdminKind kind;
    const char *client;
    char error[200];
    int result, facts;
    gint done;
} Slow;

static int count(void *userdata, json_t *fact)
{
    Slow *w = userdata;
    w->facts++;
    return 0;
}

static gpointer run_slow(gpointer data)
{
    Slow *w = data;
    AdminRequest q = {.kind = w->kind, .uses = 1, .days = 1};
    _cleanup_(buf_done) Buf error = BUF_MAX(1000);
    _cleanup_(fd_closep) int fd = -1;
    g_strlcpy(q.client, w->client ? w->client : "", sizeof(q.client));
    g_assert_cmpint(admin_socket_connect(w->f->store.folder, &fd), ==, 0);
    w->result = admin_socket_ask(fd, &q, count, w, &error);
    g_strlcpy(w->error, buf_text(&error), sizeof(w->error));
    g_atomic_int_set(&w->done, 1);
    return NULL;
}

/* While changes wait for a store that stands still, what it is asked is answered. */
static void test_several(Fixture *f, gconstpointer data)
{
    Slow waiting[] = {{.f = f, .kind = ADMIN_INVITE_CREATE},
                      {.f = f, .kind = ADMIN_CLIENT_DELETE, .client = "alice@relay.example"}};
    GThread *threads[G_N_ELEMENTS(waiting)];
    _cleanup_(buf_done) Buf error = BUF_MAX(1000);
    AdminSocket *s = NULL;
    g_assert_cmpint(admin_socket_start(f->store.folder, &f->admin, &s), ==, 0);
    test_block(f->store.store);
    for (size_t i = 0; i < G_N_ELEMENTS(waiting); i++)
        threads[i] = g_thread_new("slow", run_slow, &waiting[i]);
    for (unsigned i = 0; i < 3 * ADMIN_SOCKET_THREADS; i++) {
        g_assert_cmpint(ask(f, ADMIN_CLIENT_LIST, NULL, &error), ==, 0);
        g_assert_cmpuint(json_array_size(f->facts), ==, 3);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(waiting); i++)
        g_assert_cmpint(g_atomic_int_get(&waiting[i].done), ==, 0);
    test_unblock();
    for (size_t i = 0; i < G_N_ELEMENTS(waiting); i++) {
        (void)g_thread_join(threads[i]);
        g_assert_cmpint(waiting[i].result, ==, 0);
    }
    g_assert_cmpint(waiting[0].facts, ==, 1);
    g_assert_cmpuint(f->gone, ==, 1);
    s = admin_socket_stop(s);
}

/* Who waits is told when it takes too long, and what was asked for is done all the same. */
static void test_patience(Fixture *f, gconstpointer data)
{
    Slow waiting[2 * ADMIN_SOCKET_THREADS] = {{.f = NULL}};
    GThread *threads[G_N_ELEMENTS(waiting)];
    _cleanup_(buf_done) Buf error = BUF_MAX(1000);
    AdminSocket *s = NULL;
    f->admin.patience = 1;
    g_assert_cmpint(admin_socket_start(f->store.folder, &f->admin, &s), ==, 0);
    test_block(f->store.store);
    for (size_t i = 0; i < G_N_ELEMENTS(waiting); i++) {
        waiting[i] = (Slow){.f = f, .kind = i == 0 ? ADMIN_CLIENT_DELETE : ADMIN_INVITE_CREATE};
        waiting[i].client = "alice@relay.example";
        threads[i] = g_thread_new("slow", run_slow, &waiting[i]);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(waiting); i++) {
        (void)g_thread_join(threads[i]);
        g_assert_cmpint(waiting[i].result, ==, HMSG_ERROR_BAD_PACKAGE);
        g_assert_cmpstr(waiting[i].error, ==, admin_problem(-ETIMEDOUT));
        g_assert_cmpint(waiting[i].facts, ==, 0);
    }
    g_assert_cmpuint(f->gone, ==, 0);
    s = admin_socket_stop(s);
    test_unblock();
    f->admin.patience = 0; /* behind those in the store's queue */
    g_assert_cmpint(run(f, ADMIN_INVITE_CREATE, NULL, 0), ==, 0);
    g_assert_cmpint(number(f, 0, "number"), ==, G_N_ELEMENTS(waiting));
    g_assert_cmpuint(f->gone, ==, 1);
    g_assert_cmpint(run(f, ADMIN_CLIENT_SHOW, "alice@relay.example", 0), ==, HMSG_ERROR_NOT_FOUND);
}

/* No more than so many: who says nothing keeps others waiting until he goes, or his time is over. */
static void test_bounded(Fixture *f, gconstpointer data)
{
    int silent[ADMIN_SOCKET_THREADS];
    Slow waiting = {.f = f, .kind = ADMIN_CLIENT_LIST};
    AdminSocket *s = NULL;
    g_assert_cmpint(admin_socket_start(f->store.folder, &f->admin, &s), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(silent); i++)
        g_assert_cmpint(admin_socket_connect(f->store.folder, &silent[i]), ==, 0);
    GThread *thread = g_thread_new("slow", run_slow, &waiting);
    silent[0] = fd_close(silent[0]);
    (void)g_thread_join(thread);
    g_assert_cmpint(waiting.result, ==, 0);
    g_assert_cmpint(waiting.facts, ==, 3);
    s = admin_socket_stop(s);
    for (size_t i = 1; i < G_N_ELEMENTS(silent); i++)
        silent[i] = fd_close(silent[i]);
}

/* Each command is in the log once it has been answered, with nothing that tells clients or a code. */
static void test_log(Fixture *f, gconstpointer data)
{
    const AdminRequest revoke = {.kind = ADMIN_INVITE_REVOKE, .number = 1};
    _cleanup_(buf_done) Buf error = BUF_MAX(1000);
    _cleanup_(fd_closep) int fd = -1;
    g_autofree char *path = NULL, *log = NULL,
                    *by = g_strdup_printf("User %u asked for ", (unsigned)geteuid());
    AdminSocket *s = NULL;
    int saved = dup(STDERR_FILENO), file = g_file_open_tmp(NULL, &path, NULL);
    g_assert_true(saved >= 0 && file >= 0 && dup2(file, STDERR_FILENO) >= 0);
    (void)fd_close(file);
    int started = admin_socket_start(f->store.folder, &f->admin, &s);
    int block = ask(f, ADMIN_CLIENT_BLOCK, "bob@relay.example", &error);
    int show = ask(f, ADMIN_CLIENT_SHOW, "carol@relay.example", &error);
    int create = ask(f, ADMIN_INVITE_CREATE, NULL, &error);
    g_autofree char *code = g_strdup(text(f, 0, "code"));
    int64_t which = number(f, 0, "number");
    int connected = admin_socket_connect(f->store.folder, &fd);
    int revoked = admin_socket_ask(fd, &revoke, keep, f, &error);
    send_raw(f, "nonsense\n", 9);
    g_assert_true(g_file_get_contents(path, &log, NULL, NULL));
    s = admin_socket_stop(s);
    g_assert_cmpint(dup2(saved, STDERR_FILENO), >=, 0);
    (void)fd_close(saved);
    (void)unlink(path);
    g_assert_true(started == 0 && block == 0 && show == HMSG_ERROR_BAD_PACKAGE && create == 0 && which == 1);
    g_assert_true(connected == 0 && revoked == 0);
    const char *const lines[] = {"client-block: done\n", "client-show: there is no such",
                                 "invite-create: done\n", "invite-revoke of number 1: done\n", "(unknown): "};
    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *line = g_strconcat(by, lines[i], NULL);
        if (!strstr(log, line))
            g_error("The log lacks '%s': %s", line, log);
    }
    g_assert_null(strstr(log, "bob"));
    g_assert_null(strstr(log, "carol"));
    g_assert_null(strstr(log, code));
    g_assert_null(strstr(log, "nonsense"));
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/admin/request", test_request);
    g_test_add("/admin/clients", Fixture, NULL, set_up, test_clients, tear_down);
    g_test_add("/admin/invites", Fixture, NULL, set_up, test_invites, tear_down);
    g_test_add("/admin/socket", Fixture, NULL, set_up, test_socket, tear_down);
    g_test_add("/admin/several", Fixture, NULL, set_up, test_several, tear_down);
    g_test_add("/admin/patience", Fixture, NULL, set_up, test_patience, tear_down);
    g_test_add("/admin/bounded", Fixture, NULL, set_up, test_bounded, tear_down);
    g_test_add("/admin/log", Fixture, NULL, set_up, test_log, tear_down);
    return g_test_run();
}
