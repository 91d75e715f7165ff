/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/key-holder.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"
#include "server/key-holder-internal.h"
#include "server/relay-key-internal.h"

#define PROCESS_NAME "hmsg-relay-key"

struct KeyHolder {
    const KeyFiles *files;
    pthread_mutex_t lock; /* over what follows: one command at a time */
    int fd;
    uint32_t number;
};

/* The child: has nothing of the relay's but the socket. It ends with the relay, not before: what that is
 * asked to end by, signals, is not for it. */
static _Noreturn void run_child(int fd, const KeyFiles *f)
{
    int r = -errno;

    if (dup2(fd, STDERR_FILENO + 1) >= 0 && close_range(STDERR_FILENO + 2, ~0u, 0) == 0) {
        (void)signal(SIGTERM, SIG_IGN);
        (void)signal(SIGINT, SIG_IGN);
        (void)signal(SIGHUP, SIG_IGN);
        (void)signal(SIGPIPE, SIG_IGN);
        (void)prctl(PR_SET_NAME, PROCESS_NAME);
        r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : key_holder_serve(STDERR_FILENO + 1, f);
    }
    if (r != 0)
        log_error("The identity key's process: %s", strerror(-r));
    _exit(r == 0 ? 0 : 1);
}

int key_holder_start(const KeyFiles *f, KeyHolder **ret)
{
    _cleanup_(key_holder_freep) KeyHolder *h = calloc(1, sizeof(*h));
    int fds[2];
    pid_t pid;

    if (!h)
        return -ENOMEM;
    h->fd = -1;
    h->files = f;
    if (pthread_mutex_init(&h->lock, NULL) != 0) {
        free(TAKE_PTR(h));
        return -ENOMEM;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    h->fd = fds[0];
    pid = fork();
    if (pid == 0)
        run_child(fds[1], f);
    (void)fd_close(fds[1]);
    if (pid < 0)
        return -errno;
    *ret = TAKE_PTR(h);
    return 0;
}

int key_holder_fd(const KeyHolder *h)
{
    return h->fd;
}

KeyHolder *key_holder_free(KeyHolder *h)
{
    if (!h)
        return NULL;
    (void)fd_close(h->fd);
    (void)pthread_mutex_destroy(&h->lock);
    free(h);
    return NULL;
}

/* The answer to request number; late ones to others are dropped. What is waited is counted, so that a machine
 * that was suspended or busy elsewhere does not end it. */
static int read_answer(KeyHolder *h, HolderMessage *m, size_t *ret_size)
{
    unsigned waited = 0;

    while (waited < KEY_HOLDER_TIMEOUT) {
        struct pollfd p = {.fd = h->fd, .events = POLLIN};
        int ready = poll(&p, 1, 1000);
        ssize_t n;

        if (ready < 0 && errno != EINTR)
            return -errno;
        if (ready == 0)
            waited++;
        if (ready <= 0)
            continue;
        n = recv(h->fd, m, sizeof(*m), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < (ssize_t)HOLDER_HEADER_SIZE)
            return n < 0 ? -errno : -EPIPE;
        if (m->number != h->number)
            continue;
        *ret_size = (size_t)n - HOLDER_HEADER_SIZE;
        return m->what;
    }
    return -ETIMEDOUT;
}

/* Has the holder do it; ret gets what it answered, also when that is an error. */
static int ask(KeyHolder *h, HolderCommand command, const void *data, size_t n, Buf *ret)
{
    HolderMessage m = {.what = (int32_t)command};
    size_t size = 0;
    int r = 0;

    if (n > HOLDER_DATA_MAX)
        return HMSG_ERROR_TOO_LARGE;
    memcpy(m.data, n > 0 ? data : "", n);
    (void)pthread_mutex_lock(&h->lock);
    m.number = ++h->number;
    if (send(h->fd, &m, HOLDER_HEADER_SIZE + n, MSG_NOSIGNAL) < 0)
        r = -errno;
    if (r == 0)
        r = read_answer(h, &m, &size);
    (void)pthread_mutex_unlock(&h->lock);
    if (size > 0 && buf_append(ret, m.data, size) != 0)
        r = -ENOMEM;
    bytes_wipe(&m, sizeof(m));
    return r;
}

static int held_sign(void *held, const uint8_t digest[static SHA256_SIZE], Buf *ret)
{
    return ask(held, HOLDER_SIGN, digest, SHA256_SIZE, ret);
}

static int held_unwrap(void *held, const void *wrapped, size_t n, Secret **ret)
{
    _cleanup_(buf_done) Buf answer = BUF_MAX(HOLDER_DATA_MAX);
    int r = ask(held, HOLDER_UNWRAP, wrapped, n, &answer);

    if (r == 0)
        r = answer.size > 0 ? secret_new_copy(answer.data, answer.size, ret) : -EIO;
    bytes_wipe(answer.data, answer.size);
    return r;
}

static void held_free(void *held)
{
}

static const KeyDriver driver = {held_sign, held_unwrap, held_free, .keeps_whole = true};

static int take_spki(const uint8_t **at, size_t *left, RsaKey **ret)
{
    size_t n = *left >= 2 ? (size_t)(*at)[0] << 8 | (*at)[1] : 0;
    int r;

    if (n == 0 || n > *left - 2)
        return -EBADMSG;
    r = rsa_key_from_spki(*at + 2, n, ret);
    *at += 2 + n;
    *left -= 2 + n;
    return r;
}

int key_holder_read_keys(const Buf *answer, RsaKey **ret_identity, RsaKey **ret_keeper)
{
    _cleanup_(rsa_key_freep) RsaKey *identity = NULL, *keeper = NULL;
    const uint8_t *at = answer->data;
    size_t left = answer->size;
    int r;

    if (left == 0)
        return -EBADMSG;
    at++; /* HolderFile */
    left--;
    r = take_spki(&at, &left, &identity);
    if (r == 0)
        r = take_spki(&at, &left, &keeper);
    if (r == 0 && left > 0)
        r = -EBADMSG;
    if (r == 0) {
        *ret_identity = TAKE_PTR(identity);
        *ret_keeper = TAKE_PTR(keeper);
    }
    return r > 0 ? -EBADMSG : r;
}

int key_holder_open(KeyHolder *h, const char **ret_file, RelayKey **ret)
{
    const char *const files[] = {[HOLDER_FILE_KEY] = h->files->key,
                                 [HOLDER_FILE_PASSPHRASE] = h->files->passphrase,
                                 [HOLDER_FILE_PIN] = h->files->pin};
    _cleanup_(buf_done) Buf answer = BUF_MAX(HOLDER_DATA_MAX);
    RsaKey *identity = NULL, *keeper = NULL;
    int r = ask(h, HOLDER_OPEN, NULL, 0, &answer);

    if (ret_file)
        *ret_file = files[answer.size > 0 && answer.data[0] < ELEMENTSOF(files) ? answer.data[0] : 0];
    if (r == 0)
        r = key_holder_read_keys(&answer, &identity, &keeper);
    if (r == 0)
        r = relay_key_new(&driver, h, identity, keeper, ret);
    (void)rsa_key_free(identity);
    (void)rsa_key_free(keeper);
    return r;
}
