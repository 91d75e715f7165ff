/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/admin-socket.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/base/log.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/wire/json.h"

#define POLL_MAX 60000 /* ms */
#define LOG_WHAT_SIZE 40u

struct AdminSocket {
    Admin admin;
    char *path;
    int fd, stop; /* stop: an eventfd */
    atomic_bool stopping;
    pthread_t threads[ADMIN_SOCKET_THREADS];
    size_t n_threads;
};

static int make_address(const char *folder, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/" ADMIN_SOCKET_NAME, folder);
    return n < 0 || (size_t)n >= sizeof(ret->sun_path) ? -ENAMETOOLONG : 0;
}

static bool is_administrator(int fd, struct ucred *ret)
{
    socklen_t n = sizeof(*ret);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret, &n) == 0 && (ret->uid == 0 || ret->uid == geteuid());
}

/* Until it can be read (or written), false: time is over, or the relay ends. */
static bool await(AdminSocket *s, int fd, short events, uint64_t deadline)
{
    struct pollfd polls[] = {{.fd = fd, .events = events}, {.fd = s->stop, .events = POLLIN}};
    for (;;) {
        uint64_t now = clock_boottime();
        if (atomic_load(&s->stopping) || now >= deadline)
            return false;
        uint64_t ms = (deadline - now) / 1000 + 1;
        int n = poll(polls, ELEMENTSOF(polls), ms < POLL_MAX ? (int)ms : POLL_MAX);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0 && polls[0].revents)
            return true;
    }
}

static uint64_t deadline_from_now(void)
{
    return clock_boottime() + (uint64_t)ADMIN_SOCKET_TIMEOUT * 1000;
}

/* Up to the line break, which is left out. */
static bool read_request(AdminSocket *s, int fd, char line[static ADMIN_REQUEST_MAX + 1], size_t *ret)
{
    const uint64_t deadline = deadline_from_now();
    size_t size = 0;
    while (size <= ADMIN_REQUEST_MAX && await(s, fd, POLLIN, deadline)) {
        ssize_t n = recv(fd, line + size, ADMIN_REQUEST_MAX + 1 - size, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return false;
        const char *end = memchr(line + size, '\n', (size_t)n);
        size += (size_t)n;
        if (end) {
            *ret = (size_t)(end - line);
            return true;
        }
    }
    return false;
}

typedef struct Answer {
    AdminSocket *socket;
    int fd;
} Answer;

static int send_line(void *userdata, json_t *fact)
{
    const Answer *a = userdata;
    _cleanup_(buf_done) Buf line = BUF_MAX(ADMIN_ANSWER_MAX);
    const uint64_t deadline = deadline_from_now();
    int r = json_write(fact, &line);
    if (r == 0)
        r = buf_append_string(&line, "\n");
    for (size_t at = 0; r == 0 && at < line.size;) {
        if (!await(a->socket, a->fd, POLLOUT, deadline))
            return -ECANCELED;
        ssize_t n = send(a->fd, line.data + at, line.size - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            at += (size_t)n;
        else if (n < 0 && errno != EAGAIN && errno != EINTR)
            r = -errno;
    }
    return r;
}

/* Before the answer has ended: whoever has seen that it is done finds it in the log. */
static void write_log(const struct ucred *by, const char *command, const AdminRequest *q, int r)
{
    char what[LOG_WHAT_SIZE] = "";
    if (q->kind == ADMIN_INVITE_REVOKE && q->number > 0)
        (void)snprintf(what, sizeof(what), " of number %" PRIi64, q->number);
    const char *how = r == 0 ? "done" : admin_problem(r);
    char user[LOG_WHAT_SIZE];
    (void)snprintf(user, sizeof(user), "%u", (unsigned)by->uid);
    log_event(r == 0 ? LOG_INFO : LOG_WARNING,
              LOG_FIELDS({"HMSG_EVENT", "command"}, {"HMSG_COMMAND", command}, {"HMSG_USER", user},
                         {"HMSG_RESULT", how}),
              "User %s asked for %s%s: %s", user, command, what, how);
}

/* With a reader for this command alone: most of the time there is none. */
static int run(const AdminSocket *s, const AdminRequest *q, Answer *answer)
{
    Admin a = s->admin;
    _cleanup_(store_reader_freep) StoreReader *reader = NULL;
    int r = store_reader_new(a.store, &reader);
    a.reader = reader;
    return r == 0 ? admin_run(&a, q, send_line, answer) : r;
}

static void answer(AdminSocket *s, int fd)
{
    char line[ADMIN_REQUEST_MAX + 1];
    struct ucred by = {.uid = (uid_t)-1};
    AdminRequest q = {};
    Answer a = {s, fd};
    size_t n = 0;
    if (!is_administrator(fd, &by)) {
        log_warning("User %u is refused: neither root nor the relay's own", (unsigned)by.uid);
        return;
    }
    if (!read_request(s, fd, line, &n))
        return;
    int r = admin_request_parse(line, n, &q);
    const char *command = r == 0 ? admin_kind_name(q.kind) : "(unknown)";
    if (r == 0)
        r = run(s, &q, &a);
    write_log(&by, command, &q, r);
    _cleanup_(json_decrefp) json_t *last = json_object();
    if (!last ||
        (r == 0 ? json_put(last, "done", json_true()) : json_put_text(last, "error", admin_problem(r))) != 0)
        return;
    (void)send_line(&a, last);
}

static void *serve(void *userdata)
{
    AdminSocket *s = userdata;
    while (!atomic_load(&s->stopping)) {
        if (!await(s, s->fd, POLLIN, UINT64_MAX / 2))
            continue;
        _cleanup_(fd_closep) int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            answer(s, fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            (void)poll(&(struct pollfd){.fd = s->stop, .events = POLLIN}, 1, ADMIN_SOCKET_TIMEOUT / 10);
    }
    return NULL;
}

static void join(AdminSocket *s)
{
    atomic_store(&s->stopping, true);
    if (s->stop >= 0)
        (void)eventfd_write(s->stop, 1);
    for (size_t i = 0; i < s->n_threads; i++)
        (void)pthread_join(s->threads[i], NULL);
}

static AdminSocket *release(AdminSocket *s)
{
    (void)fd_close(s->fd);
    (void)fd_close(s->stop);
    free(s->path);
    free(s);
    return NULL;
}
DEFINE_CLEANUP(AdminSocket *, release)

static int open_socket(AdminSocket *s, const char *folder)
{
    struct sockaddr_un address;
    int r = make_address(folder, &address);
    if (r == 0)
        r = string_printf(&s->path, "%s", address.sun_path);
    if (r != 0)
        return r;
    if (unlink(s->path) < 0 && errno != ENOENT)
        return -errno;
    s->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->stop < 0 || s->fd < 0 || bind(s->fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        chmod(s->path, 0600) < 0 || listen(s->fd, SOMAXCONN) < 0)
        return -errno;
    return 0;
}

int admin_socket_start(const char *folder, const Admin *a, AdminSocket **ret)
{
    _cleanup_(releasep) AdminSocket *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->admin = *a;
    s->fd = s->stop = -1;
    int r = open_socket(s, folder);
    while (r == 0 && s->n_threads < ADMIN_SOCKET_THREADS) {
        r = -pthread_create(&s->threads[s->n_threads], NULL, serve, s);
        s->n_threads += r == 0;
    }
    if (r == 0)
        *ret = TAKE_PTR(s);
    else
        join(s);
    return r;
}

AdminSocket *admin_socket_stop(AdminSocket *s)
{
    if (!s)
        return NULL;
    join(s);
    (void)unlink(s->path);
    return release(s);
}

int admin_socket_connect(const char *folder, int *ret_fd)
{
    struct sockaddr_un address;
    int r = make_address(folder, &address);
    if (r != 0)
        return r;
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* *ret_last: it was the last line, and *ret is the result. */
static int take_line(const char *line, admin_emit_t emit, void *userdata, Buf *ret_error, bool *ret_last)
{
    _cleanup_(json_decrefp) json_t *j = NULL;
    const char *error = NULL;
    int r = json_parse_object(line, strlen(line), &j);
    if (r != 0)
        return r;
    if (json_get_text(j, "error", ADMIN_ANSWER_MAX, &error, NULL) == 0) {
        r = buf_append_string(ret_error, error);
        return r == 0 ? HMSG_ERROR_BAD_PACKAGE : r;
    }
    *ret_last = json_is_true(json_object_get(j, "done"));
    return *ret_last ? 0 : emit(userdata, j);
}

int admin_socket_ask(int fd, const AdminRequest *q, admin_emit_t emit, void *userdata, Buf *ret_error)
{
    _cleanup_(buf_done) Buf request = BUF_MAX(ADMIN_REQUEST_MAX);
    char line[ADMIN_ANSWER_MAX + 1];
    bool last = false;
    int r = admin_request_write(q, &request);
    if (r == 0)
        r = buf_append_string(&request, "\n");
    if (r == 0)
        r = file_write_fd(fd, request.data, request.size);
    if (r != 0)
        return r;
    int copy = dup(fd);
    FILE *f = copy >= 0 ? fdopen(copy, "re") : NULL;
    if (!f) {
        (void)fd_close(copy);
        return -ENOMEM;
    }
    while (r == 0 && !last)
        r = fgets(line, sizeof(line), f) ? take_line(line, emit, userdata, ret_error, &last)
                                         : HMSG_ERROR_BAD_PACKAGE;
    bytes_wipe(line, sizeof(line)); /* the code of an invitation */
    (void)fclose(f);
    return r;
}
