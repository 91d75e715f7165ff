/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define PIN_MIN 4u   /* bytes, as the agent has it */
#define PIN_MAX 256u /* bytes */
#define LINE_SIZE (PIN_MAX + 2u)

/* A terminal that does not show what is typed. Signals that would end us are taken from signal_fd, so that it
 * is put right first. */
typedef struct Terminal {
    int fd, signal_fd;
    struct termios shown;
    sigset_t signals, mask;
} Terminal;

static int terminal_open(Terminal *t)
{
    static const int deadly[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
    struct termios hidden;

    *t = (Terminal){.fd = -1, .signal_fd = -1};
    t->fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (t->fd < 0 || tcgetattr(t->fd, &t->shown) < 0) {
        t->fd = fd_close(t->fd);
        return -ENOTTY;
    }
    sigemptyset(&t->signals);
    for (size_t i = 0; i < ELEMENTSOF(deadly); i++)
        sigaddset(&t->signals, deadly[i]);
    (void)sigprocmask(SIG_BLOCK, &t->signals, &t->mask);
    t->signal_fd = signalfd(-1, &t->signals, SFD_CLOEXEC);
    hidden = t->shown;
    hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
    hidden.c_lflag |= ICANON | ECHONL | ISIG;
    (void)tcsetattr(t->fd, TCSAFLUSH, &hidden);
    return 0;
}

/* What was blocked meanwhile comes through. */
static void terminal_close(Terminal *t)
{
    (void)tcsetattr(t->fd, TCSAFLUSH, &t->shown);
    t->signal_fd = fd_close(t->signal_fd);
    t->fd = fd_close(t->fd);
    (void)sigprocmask(SIG_SETMASK, &t->mask, NULL);
}

/* One line, or a signal: then it is taken, and sent again once the terminal is right. */
static ssize_t terminal_read(Terminal *t, const char *prompt, Secret *line)
{
    struct pollfd polls[] = {{.fd = t->fd, .events = POLLIN}, {.fd = t->signal_fd, .events = POLLIN}};
    struct signalfd_siginfo info;

    if (dprintf(t->fd, "%s", prompt) < 0)
        return -errno;
    while (poll(polls, ELEMENTSOF(polls), -1) < 0)
        if (errno != EINTR)
            return -errno;
    if (polls[1].revents && read(t->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        (void)raise((int)info.ssi_signo);
        return -ECANCELED;
    }
    ssize_t n = read(t->fd, secret_data(line), secret_size(line));
    return n < 0 ? -errno : n;
}

/* All there is, to its end or as much as fits. */
static ssize_t read_all(int fd, Secret *line)
{
    size_t n = 0;

    while (n < secret_size(line)) {
        ssize_t more = read(fd, secret_data(line) + n, secret_size(line) - n);

        if (more < 0 && errno == EINTR)
            continue;
        if (more < 0)
            return -errno;
        if (more == 0)
            break;
        n += (size_t)more;
    }
    return (ssize_t)n;
}

/* What it is called, and how few bytes it may have. */
typedef struct Kind {
    const char *name;
    unsigned min;
} Kind;

static Kind kind_of(OptionId from)
{
    if (from == OPTION_INVITE_FD)
        return (Kind){"code", 1};
    return from == OPTION_PASSWORD_FD ? (Kind){"password", 1} : (Kind){"PIN", PIN_MIN};
}

/* Of a line of n bytes that was read: the size of the PIN. */
static int check(Ctl *ctl, Kind kind, const Secret *line, ssize_t n, size_t *ret)
{
    const uint8_t *end;
    size_t size;

    if (n == -ECANCELED)
        return ctl_fail(ctl, HMSG_ERROR_CANCELLED, "Nothing was done");
    if (n < 0)
        return ctl_fail(ctl, (int)n, "The %s cannot be read: %s", kind.name, error_message((int)n));
    end = memchr(secret_bytes(line), '\n', (size_t)n);
    size = end ? (size_t)(end - secret_bytes(line)) : (size_t)n;
    if (size < kind.min || size > PIN_MAX)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "A %s has %u to %u bytes", kind.name, kind.min,
                        PIN_MAX);
    *ret = size;
    return 0;
}

static int ask_twice(Ctl *ctl, Kind kind, Terminal *t, const Secret *line, size_t size)
{
    _cleanup_(secret_freep) Secret *again = NULL;
    size_t again_size = 0;
    int r;

    r = secret_new(LINE_SIZE, &again);
    if (r == 0)
        r = check(ctl, kind, again, terminal_read(t, "The same PIN again: ", again), &again_size);
    if (r != 0)
        return r;
    if (again_size != size || !bytes_equal(secret_bytes(line), secret_bytes(again), size))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "The two PINs differ");
    return 0;
}

static int ask(Ctl *ctl, OptionId from, const char *prompt, bool twice, Secret *line, size_t *ret)
{
    Terminal t;
    int r;

    if (ctl_given(ctl, OPTION_NO_ASK) || terminal_open(&t) < 0)
        return ctl_hint(ctl,
                        ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS,
                                 "A %s is needed, and there is no terminal to ask", kind_of(from).name),
                        "Write it into a pipe or file, and give the descriptor: --%s 3 3<FILE.",
                        option_infos[from].name);
    r = check(ctl, kind_of(from), line, terminal_read(&t, prompt, line), ret);
    if (r == 0 && twice)
        r = ask_twice(ctl, kind_of(from), &t, line, *ret);
    terminal_close(&t);
    return r;
}

static int read_fd(Ctl *ctl, OptionId from, const char *number, Secret *line, size_t *ret)
{
    char *end = NULL;
    long fd;

    errno = 0;
    fd = strtol(number, &end, 10);
    if (*number < '0' || *number > '9' || *end || errno != 0 || fd > INT32_MAX || fcntl((int)fd, F_GETFD) < 0)
        return ctl_hint(
            ctl, ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "There is no open descriptor \"%s\"", number),
            "It is a number that the shell opens, as in: --%s 3 3<FILE.", option_infos[from].name);
    return check(ctl, kind_of(from), line, read_all((int)fd, line), ret);
}

static int make_memfd(Ctl *ctl, const Secret *line, size_t size, int *ret)
{
    _cleanup_(fd_closep) int fd = memfd_create("hmsg-pin", MFD_CLOEXEC);

    if (fd < 0 || write(fd, secret_bytes(line), size) != (ssize_t)size)
        return ctl_fail(ctl, -errno, "Memory for the PIN: %s", error_message(-errno));
    *ret = TAKE_FD(fd);
    return 0;
}

static int get_line(Ctl *ctl, OptionId from, const char *prompt, bool twice, Secret **ret, size_t *ret_size)
{
    const char *number = ctl->options.values[from];
    _cleanup_(secret_freep) Secret *line = NULL;
    int r;

    r = process_harden(); /* neither a core nor a debugger of the same user */
    if (r == 0)
        r = secret_new(LINE_SIZE, &line);
    if (r < 0)
        return ctl_fail(ctl, r, "Memory that stays out of swap (ulimit -l): %s", error_message(r));
    r = number ? read_fd(ctl, from, number, line, ret_size) : ask(ctl, from, prompt, twice, line, ret_size);
    if (r == 0)
        *ret = TAKE_PTR(line);
    return r;
}

int pin_get(Ctl *ctl, OptionId from, const char *prompt, bool twice, int *ret_fd)
{
    _cleanup_(secret_freep) Secret *line = NULL;
    size_t size = 0;
    int r = get_line(ctl, from, prompt, twice, &line, &size);

    return r == 0 ? make_memfd(ctl, line, size, ret_fd) : r;
}

bool pin_can_ask(void)
{
    _cleanup_(fd_closep) int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);

    return fd >= 0;
}

void pin_done(int *fd)
{
    static const uint8_t nothing[PIN_MAX];
    struct stat st;

    if (*fd < 0)
        return;
    if (fstat(*fd, &st) == 0)
        for (off_t at = 0; at < st.st_size; at += (off_t)sizeof(nothing))
            (void)!pwrite(*fd, nothing, sizeof(nothing), at);
    *fd = fd_close(*fd);
}
