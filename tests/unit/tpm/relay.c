/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/tpm/relay.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/process.h"

#define MESSAGE_MAX 4096u
#define HEAD 10u
#define PAIRS_MAX 8u
#define RULES_MAX 4u

typedef struct Rule {
    guint32 code, rc;
    unsigned times;
} Rule;

struct Relay {
    TestSwtpm *tpm;
    char *folder, *path, *ctrl, *tcti;
    int stop_fd, data_fd, ctrl_fd;
    GThread *data, *control;
    GMutex lock; /* what is below */
    GByteArray *seen;
    GArray *codes; /* of all commands */
    Rule rules[RULES_MAX];
    guint32 tamper_code;
    size_t tamper_offset;
    guint32 cut_code;
    bool start_up;
};

static struct sockaddr_un name_of(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    g_assert_cmpuint(g_strlcpy(name.sun_path, path, sizeof(name.sun_path)), <, sizeof(name.sun_path));
    return name;
}

static int listen_at(const char *path)
{
    struct sockaddr_un name = name_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(bind(fd, (const struct sockaddr *)&name, sizeof(name)), ==, 0);
    g_assert_cmpint(listen(fd, 16), ==, 0);
    return fd;
}

static int connect_to(const char *path)
{
    struct sockaddr_un name = name_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(fd, >=, 0);
    if (connect(fd, (const struct sockaddr *)&name, sizeof(name)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* -1: the relay ends. */
static int accept_or_stop(Relay *r, int listener)
{
    struct pollfd p[] = {{.fd = listener, .events = POLLIN}, {.fd = r->stop_fd, .events = POLLIN}};
    while (poll(p, 2, -1) < 0)
        g_assert_cmpint(errno, ==, EINTR);
    return p[1].revents ? -1 : accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}

/* One whole message, whose length is in its head; 0 at the end of the connection. */
static size_t read_message(Relay *r, int fd, guint8 *message)
{
    size_t have = 0, want = HEAD;
    while (have < want) {
        struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = r->stop_fd, .events = POLLIN}};
        if (poll(p, 2, -1) < 0 || p[1].revents)
            return 0;
        ssize_t n = recv(fd, message + have, want - have, 0);
        if (n <= 0)
            return 0;
        have += (size_t)n;
        if (have == HEAD)
            want = (size_t)message[2] << 24 | (size_t)message[3] << 16 | (size_t)message[4] << 8 | message[5];
        g_assert_cmpuint(want, <=, MESSAGE_MAX);
    }
    return have;
}

static bool write_message(int fd, const guint8 *message, size_t n)
{
    return send(fd, message, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static void put_u32(guint8 *p, guint32 v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (guint8)(v >> (24 - 8 * i));
}

static guint32 get_u32(const guint8 *p)
{
    return (guint32)p[0] << 24 | (guint32)p[1] << 16 | (guint32)p[2] << 8 | p[3];
}

static bool started_up(Relay *r, int up)
{
    static const guint8 startup[] = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0};
    guint8 answer[MESSAGE_MAX];
    bool wanted;

    g_mutex_lock(&r->lock);
    wanted = r->start_up;
    r->start_up = false;
    g_mutex_unlock(&r->lock);
    return !wanted || (write_message(up, startup, sizeof(startup)) && read_message(r, up, answer) == HEAD);
}

/* The answer to one command; 0: the TPM is gone, or the answer. */
static size_t answer_to(Relay *r, int up, const guint8 *command, size_t size, guint8 *answer)
{
    guint32 code = get_u32(command + 6);
    guint32 rc = 0;
    size_t n = HEAD;

    g_mutex_lock(&r->lock);
    g_byte_array_append(r->seen, command, (guint)size);
    g_array_append_val(r->codes, code);
    for (size_t i = 0; i < RULES_MAX; i++)
        if (r->rules[i].times > 0 && r->rules[i].code == code) {
            r->rules[i].times--;
            rc = r->rules[i].rc;
        }
    g_mutex_unlock(&r->lock);
    if (rc != 0) {
        memcpy(answer, "\x80\x01\0\0\0\x0a", 6);
        put_u32(answer + 6, rc);
        return n;
    }
    if (!started_up(r, up) || !write_message(up, command, size))
        return 0;
    n = read_message(r, up, answer);
    g_mutex_lock(&r->lock);
    g_byte_array_append(r->seen, answer, (guint)n);
    if (code == r->tamper_code && r->tamper_offset < n) {
        answer[r->tamper_offset] ^= 1;
        r->tamper_code = 0;
    }
    if (code == r->cut_code) {
        r->cut_code = 0;
        n = 0;
    }
    g_mutex_unlock(&r->lock);
    return n;
}

static gpointer serve_data(gpointer userdata)
{
    Relay *r = userdata;
    guint8 command[MESSAGE_MAX], answer[MESSAGE_MAX];
    int down;

    while ((down = accept_or_stop(r, r->data_fd)) >= 0) {
        int up = connect_to(test_swtpm_path(r->tpm));
        size_t n = up < 0 ? 0 : read_message(r, down, command);
        while (n > 0) {
            size_t m = answer_to(r, up, command, n, answer);
            n = m > 0 && write_message(down, answer, m) ? read_message(r, down, command) : 0;
        }
        if (up >= 0)
            close(up);
        close(down);
    }
    return NULL;
}

static bool pass_on(int from, int to)
{
    guint8 bytes[MESSAGE_MAX];
    ssize_t n = recv(from, bytes, sizeof(bytes), 0);
    return n > 0 && write_message(to, bytes, (size_t)n);
}

/* Control connections last as long as the data connection, so several may be open. */
static gpointer serve_control(gpointer userdata)
{
    Relay *r = userdata;
    g_autofree char *path = g_strdup_printf("%s.ctrl", test_swtpm_path(r->tpm));
    struct pollfd p[2 + 2 * PAIRS_MAX];
    nfds_t n = 2;

    p[0] = (struct pollfd){.fd = r->ctrl_fd, .events = POLLIN};
    p[1] = (struct pollfd){.fd = r->stop_fd, .events = POLLIN};
    while (poll(p, n, -1) >= 0 && !p[1].revents) {
        for (nfds_t i = 2; i < n; i += 2) {
            if ((!p[i].revents || pass_on(p[i].fd, p[i + 1].fd)) &&
                (!p[i + 1].revents || pass_on(p[i + 1].fd, p[i].fd)))
                continue;
            close(p[i].fd);
            close(p[i + 1].fd);
            memmove(&p[i], &p[i + 2], (n - i - 2) * sizeof(p[0]));
            n -= 2;
            i -= 2;
        }
        if (!p[0].revents)
            continue;
        int down = accept4(r->ctrl_fd, NULL, NULL, SOCK_CLOEXEC), up = connect_to(path);
        if (up < 0) {
            close(down);
            continue;
        }
        g_assert_cmpuint(n, <, G_N_ELEMENTS(p));
        p[n++] = (struct pollfd){.fd = down, .events = POLLIN};
        p[n++] = (struct pollfd){.fd = up, .events = POLLIN};
    }
    while (n > 2)
        close(p[--n].fd);
    return NULL;
}

Relay *relay_new(TestSwtpm *tpm)
{
    Relay *r = g_new0(Relay, 1);

    r->tpm = tpm;
    r->folder = test_folder_new();
    r->path = g_build_filename(r->folder, "relay", NULL);
    r->ctrl = g_strdup_printf("%s.ctrl", r->path);
    r->tcti = g_strdup_printf("swtpm:path=%s", r->path);
    r->seen = g_byte_array_new();
    r->codes = g_array_new(FALSE, FALSE, sizeof(guint32));
    g_mutex_init(&r->lock);
    r->stop_fd = eventfd(0, EFD_CLOEXEC);
    r->data_fd = listen_at(r->path);
    r->ctrl_fd = listen_at(r->ctrl);
    r->data = g_thread_new("relay-data", serve_data, r);
    r->control = g_thread_new("relay-control", serve_control, r);
    return r;
}

void relay_free(Relay *r)
{
    if (!r)
        return;
    g_assert_cmpint(eventfd_write(r->stop_fd, 1), ==, 0);
    g_thread_join(r->data);
    g_thread_join(r->control);
    close(r->stop_fd);
    close(r->data_fd);
    close(r->ctrl_fd);
    g_byte_array_unref(r->seen);
    g_array_unref(r->codes);
    g_mutex_clear(&r->lock);
    test_folder_remove(r->folder);
    g_free(r->path);
    g_free(r->ctrl);
    g_free(r->tcti);
    g_free(r);
}

const char *relay_tcti(const Relay *r)
{
    return r->tcti;
}

void relay_refuse(Relay *r, guint32 command_code, guint32 rc, unsigned times)
{
    g_mutex_lock(&r->lock);
    size_t i = 0;
    while (i < RULES_MAX && r->rules[i].times > 0 && r->rules[i].code != command_code)
        i++;
    g_assert_cmpuint(i, <, RULES_MAX);
    r->rules[i] = (Rule){command_code, rc, times};
    g_mutex_unlock(&r->lock);
}

void relay_tamper(Relay *r, guint32 command_code, size_t offset)
{
    g_mutex_lock(&r->lock);
    r->tamper_code = command_code;
    r->tamper_offset = offset;
    g_mutex_unlock(&r->lock);
}

void relay_cut(Relay *r, guint32 command_code)
{
    g_mutex_lock(&r->lock);
    r->cut_code = command_code;
    g_mutex_unlock(&r->lock);
}

void relay_reset(Relay *r)
{
    test_swtpm_reset(r->tpm);
    g_mutex_lock(&r->lock);
    r->start_up = true;
    g_mutex_unlock(&r->lock);
}

bool relay_saw(Relay *r, const void *data, size_t n)
{
    g_mutex_lock(&r->lock);
    bool saw = memmem(r->seen->data, r->seen->len, data, n) != NULL;
    g_mutex_unlock(&r->lock);
    return saw;
}

unsigned relay_count(Relay *r, guint32 command_code)
{
    unsigned n = 0;

    g_mutex_lock(&r->lock);
    for (guint i = 0; i < r->codes->len; i++)
        n += command_code == 0 || g_array_index(r->codes, guint32, i) == command_code;
    g_mutex_unlock(&r->lock);
    return n;
}
