/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/prompt.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "agent/pin.h"
#include "agent/pinentry.h"
#include "libhmsg/base/error.h"

struct Prompt {
    int fd;
    sd_event_source *source;
    prompt_done_t done;           /* of a PIN */
    prompt_confirmed_t confirmed; /* of a question */
    void *userdata;
    Secret *answer; /* its first byte says what it is */
    size_t size;
};

Prompt *prompt_free(Prompt *p)
{
    if (!p)
        return NULL;
    sd_event_source_disable_unref(p->source);
    fd_close(p->fd);
    secret_free(p->answer);
    free(p);
    return NULL;
}

static int read_answer(const Prompt *p, Secret **ret)
{
    const uint8_t *answer = secret_bytes(p->answer);

    if (p->size == 1 && answer[0] == PINENTRY_CANCELLED)
        return HMSG_ERROR_CANCELLED;
    if (p->confirmed && p->size == 1 && answer[0] == PINENTRY_YES)
        return 0;
    if (p->confirmed || p->size < 1 || answer[0] != PINENTRY_PIN)
        return HMSG_ERROR_LOCKED;
    if (p->size < 1 + PIN_SIZE_MIN) /* too long as well: then nothing of it is sent */
        return HMSG_ERROR_INVALID_ARGS;
    return secret_new_copy(answer + 1, p->size - 1, ret);
}

/* To the end of the file: then the child has said all. */
static int on_readable(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    _cleanup_(secret_freep) Secret *pin = NULL;
    Prompt *p = userdata;
    ssize_t n = read(fd, secret_data(p->answer) + p->size, secret_size(p->answer) - p->size);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n > 0) {
        p->size += (size_t)n;
        if (p->size < secret_size(p->answer))
            return 0;
    }
    p->source = sd_event_source_disable_unref(p->source);
    int r = read_answer(p, &pin);
    if (p->confirmed)
        p->confirmed(r, p->userdata);
    else
        p->done(r, pin, p->userdata);
    return 0;
}

static int prompt_new(void *userdata, Prompt **ret)
{
    Prompt *p = calloc(1, sizeof(*p));

    if (!p)
        return -ENOMEM;
    p->fd = -1;
    p->userdata = userdata;
    *ret = p;
    return secret_new(1 + PIN_SIZE_MAX + 1, &p->answer);
}

/* r: of the launcher, which may be gone. */
static int prompt_start(Prompt *p, sd_event *event, int r)
{
    if (r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN)
        return HMSG_ERROR_LOCKED;
    if (r == 0)
        r = sd_event_add_io(event, &p->source, p->fd, EPOLLIN, on_readable, p);
    return r < 0 ? r : 0;
}

int prompt_pin(sd_event *event, Launcher *l, const char *text, prompt_done_t done, void *userdata,
               Prompt **ret)
{
    _cleanup_(prompt_freep) Prompt *p = NULL;
    int r = prompt_new(userdata, &p);

    if (r != 0)
        return r;
    p->done = done;
    r = prompt_start(p, event, launcher_ask_pin(l, text, &p->fd));
    if (r == 0)
        *ret = TAKE_PTR(p);
    return r;
}

int prompt_confirm(sd_event *event, Launcher *l, const char *text, prompt_confirmed_t confirmed,
                   void *userdata, Prompt **ret)
{
    _cleanup_(prompt_freep) Prompt *p = NULL;
    int r = prompt_new(userdata, &p);

    if (r != 0)
        return r;
    p->confirmed = confirmed;
    r = prompt_start(p, event, launcher_ask(l, text, &p->fd));
    if (r == 0)
        *ret = TAKE_PTR(p);
    return r;
}
