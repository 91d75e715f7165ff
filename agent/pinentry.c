/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/pinentry.h"

#include <assuan.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "agent/pin.h"
#include "libhmsg/base/file.h"

/* Assuan: a percent sign and what ends a line are escaped; there is none in our own texts. */
#define COMMAND_SIZE (PINENTRY_TEXT_MAX + 32u)

typedef struct Answer {
    Secret *pin;
    size_t size;
    bool too_long;
} Answer;

static gpg_error_t take_data(void *userdata, const void *data, size_t n)
{
    Answer *a = userdata;

    if (n > secret_size(a->pin) - a->size) {
        a->too_long = true;
        return 0;
    }
    memcpy(secret_data(a->pin) + a->size, data, n);
    a->size += n;
    return 0;
}

static gpg_error_t say(assuan_context_t ctx, const char *command, const char *text, Answer *a)
{
    char line[COMMAND_SIZE];

    (void)snprintf(line, sizeof(line), "%s%s%s", command, *text ? " " : "", text);
    return assuan_transact(ctx, line, a ? take_data : NULL, a, NULL, NULL, NULL, NULL);
}

/* In pinentry's process, before it is one: it ends with us. One that shows its window does not read, so that
 * the end of its input tells it nothing. */
static void end_with_parent(void *userdata, int reserved)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
}

static gpg_error_t begin(assuan_context_t ctx, const char *program, const char *text)
{
    const char *argv[] = {program, NULL};
    assuan_fd_t none[] = {ASSUAN_INVALID_FD};
    gpg_error_t e = assuan_pipe_connect(ctx, program, argv, none, end_with_parent, NULL, 0);

    if (!e)
        e = say(ctx, "SETTITLE", "hmsg", NULL);
    return e ? e : say(ctx, "SETDESC", text, NULL);
}

static gpg_error_t ask_pin(assuan_context_t ctx, Answer *a)
{
    gpg_error_t e = say(ctx, "SETPROMPT", "PIN:", NULL);

    if (e)
        return e;
    assuan_begin_confidential(ctx);
    e = say(ctx, "GETPIN", "", a);
    assuan_end_confidential(ctx);
    return e;
}

static gpg_error_t ask_yes(assuan_context_t ctx)
{
    gpg_error_t e = say(ctx, "SETOK", "Allow", NULL);

    if (!e)
        e = say(ctx, "SETCANCEL", "Deny", NULL);
    return e ? e : say(ctx, "CONFIRM", "", NULL);
}

static bool is_cancelled(gpg_error_t e)
{
    return gpg_err_code(e) == GPG_ERR_CANCELED || gpg_err_code(e) == GPG_ERR_FULLY_CANCELED ||
           gpg_err_code(e) == GPG_ERR_NOT_CONFIRMED;
}

/* The default action of SIGIO is the end. */
static void end_with(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    sigset_t io;

    (void)signal(SIGCHLD, SIG_DFL); /* libassuan waits for its child */
    (void)signal(SIGIO, SIG_DFL);
    sigemptyset(&io);
    sigaddset(&io, SIGIO);
    (void)sigprocmask(SIG_UNBLOCK, &io, NULL);
    if (fcntl(fd, F_SETOWN, getpid()) < 0 || fcntl(fd, F_SETFL, O_ASYNC) < 0)
        return;
    if (poll(&p, 1, 0) > 0) /* closed before there was a signal for it */
        _exit(0);
}

void pinentry_ask(const char *program, const char *text, int fd)
{
    _cleanup_(secret_freep) Secret *pin = NULL;
    assuan_context_t ctx = NULL;
    Answer a = {0};
    gpg_error_t e = GPG_ERR_ENOMEM;
    char status = PINENTRY_FAILED;

    end_with(fd);
    if (secret_new(PIN_SIZE_MAX, &pin) == 0 && assuan_new(&ctx) == 0) {
        a.pin = pin;
        e = begin(ctx, program, text);
        if (!e)
            e = ask_pin(ctx, &a);
    }
    (void)fcntl(fd, F_SETFL, 0);
    if (a.too_long)
        a.size = 0; /* no PIN */
    if (!e)
        status = PINENTRY_PIN;
    else if (is_cancelled(e))
        status = PINENTRY_CANCELLED;
    if (file_write_fd(fd, &status, 1) == 0 && status == PINENTRY_PIN)
        (void)file_write_fd(fd, secret_bytes(pin), a.size);
    assuan_release(ctx);
}

void pinentry_confirm(const char *program, const char *text, int fd)
{
    assuan_context_t ctx = NULL;
    char status = PINENTRY_FAILED;
    gpg_error_t e;

    end_with(fd);
    e = assuan_new(&ctx);
    if (!e)
        e = begin(ctx, program, text);
    if (!e)
        e = ask_yes(ctx);
    (void)fcntl(fd, F_SETFL, 0);
    if (!e)
        status = PINENTRY_YES;
    else if (is_cancelled(e))
        status = PINENTRY_CANCELLED;
    (void)file_write_fd(fd, &status, 1);
    assuan_release(ctx);
}
