/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/unwrap.h"

#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"
#include "libhmsg/wire/crypto.h"
#include "libhmsg/wire/limits.h"

typedef struct Command Command;

/* One who waits. */
struct Unwrap {
    Unwrap *prev, *next;
    Command *command; /* NULL: finished */
    identity_plaintext_t done;
    void *userdata;
};

/* One command of the TPM. */
struct Command {
    Command *prev, *next;
    Unwraps *owner;
    uint8_t id[SHA256_SIZE]; /* of all that its result depends on */
    uint64_t epoch;          /* of the identity */
    uint64_t round;          /* in which it has its turn */
    const void *client;
    uint8_t kid[KID_SIZE];
    bool oaep_sha1;
    size_t size;
    uint8_t encrypted_key[RSA_SIZE_MAX];
    IdentityWork *work; /* NULL: waits for its turn */
    bool finished;
    Unwrap *waiting;
};

struct Unwraps {
    Identity *identity;
    Command *queue;  /* by round, and those of one in the order in which they came */
    Command *active; /* with the TPM */
    unsigned n_active;
    uint64_t round; /* of the last that went to the TPM */
    bool pumping;
    sd_event_source *later; /* a place with the TPM became free otherwise than by an answer */
};

static void command_free(Command *c)
{
    Unwraps *u = c->owner;

    if (c->work) {
        DL_DELETE(u->active, c);
        u->n_active--;
        (void)identity_work_free(c->work);
    } else
        DL_DELETE(u->queue, c);
    free(c);
}

/* Each client has one command in a round, behind those that have waited for this round already. */
static uint64_t next_round(const Unwraps *u, const void *client)
{
    uint64_t round = u->round;
    const Command *c;

    DL_FOREACH (u->queue, c)
        if (c->client == client && c->round > round)
            round = c->round;
    return round + 1;
}

static void enqueue(Unwraps *u, Command *c, const void *client)
{
    Command *behind;

    c->round = next_round(u, client);
    c->client = client;
    DL_FOREACH (u->queue, behind)
        if (behind->round > c->round)
            break;
    if (behind)
        DL_PREPEND_ELEM(u->queue, behind, c);
    else
        DL_APPEND(u->queue, c);
}

/* It has as early a turn as the first of those who want it. */
static void hasten(Unwraps *u, Command *c, const void *client)
{
    if (c->work || next_round(u, client) >= c->round)
        return;
    DL_DELETE(u->queue, c);
    enqueue(u, c, client);
}

/* Each of those who are told may free others, and ask for more. */
static void finish(Command *c, int r, const char *detail, const Secret *plaintext)
{
    Unwrap *w;

    c->finished = true;
    while ((w = c->waiting)) {
        DL_DELETE(c->waiting, w);
        w->command = NULL;
        w->done(r, detail, plaintext, w->userdata);
    }
    command_free(c);
}

static void pump(Unwraps *u);

static void on_unwrapped(int r, const char *detail, const Secret *plaintext, void *userdata)
{
    Command *c = userdata;
    Unwraps *u = c->owner;

    finish(c, r, detail, plaintext); /* frees the work, which owns the arguments */
    pump(u);
}

static int send(Command *c)
{
    Unwraps *u = c->owner;
    int r;

    u->round = c->round;
    if (c->oaep_sha1)
        r = identity_open_oaep_sha1(u->identity, c->kid, c->encrypted_key, c->size, on_unwrapped, c,
                                    &c->work);
    else
        r = identity_open(u->identity, c->kid, c->encrypted_key, c->size, on_unwrapped, c, &c->work);
    if (r != 0)
        return r;
    DL_DELETE(u->queue, c);
    DL_APPEND(u->active, c);
    u->n_active++;
    return 0;
}

static void pump(Unwraps *u)
{
    if (u->pumping) /* what is asked for while others are told is seen by the loop below */
        return;
    u->pumping = true;
    while (u->queue && u->n_active < UNWRAPS_ACTIVE_MAX) {
        Command *c = u->queue;
        int r = send(c);

        if (r != 0)
            finish(c, r, NULL, NULL);
    }
    u->pumping = false;
}

static int on_later(sd_event_source *source, void *userdata)
{
    pump(userdata);
    return 0;
}

int unwraps_new(sd_event *event, Identity *i, Unwraps **ret)
{
    _cleanup_(unwraps_freep) Unwraps *u = calloc(1, sizeof(*u));
    int r;

    if (!u)
        return -ENOMEM;
    u->identity = i;
    r = sd_event_add_defer(event, &u->later, on_later, u);
    if (r >= 0)
        r = sd_event_source_set_enabled(u->later, SD_EVENT_OFF);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(u);
    return 0;
}

static void leave_alone(Command *c)
{
    Unwrap *w;

    DL_FOREACH (c->waiting, w)
        w->command = NULL;
    command_free(c);
}

Unwraps *unwraps_free(Unwraps *u)
{
    if (!u)
        return NULL;
    while (u->active)
        leave_alone(u->active);
    while (u->queue)
        leave_alone(u->queue);
    (void)sd_event_source_disable_unref(u->later);
    free(u);
    return NULL;
}

static Command *find_in(Command *list, const Command *like)
{
    Command *c;

    DL_FOREACH (list, c)
        if (!c->finished && c->epoch == like->epoch &&
            memcmp(c->id, like->id, sizeof(c->id)) == 0) /* public */
            return c;
    return NULL;
}

static int command_new(Unwraps *u, const UnwrapInput *input, Command **ret)
{
    const Buf *ek = input->encrypted_key;
    Command *c;
    int r;

    if (ek->size > RSA_SIZE_MAX)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->owner = u;
    c->epoch = identity_epoch(u->identity);
    c->oaep_sha1 = input->oaep_sha1;
    c->size = ek->size;
    memcpy(c->kid, input->kid, KID_SIZE);
    memcpy(c->encrypted_key, ek->data, ek->size);
    const Chunk all[] = {
        {c->kid, KID_SIZE}, {&c->oaep_sha1, sizeof(c->oaep_sha1)}, {c->encrypted_key, c->size}};
    r = crypto_sha256_chunks(all, ELEMENTSOF(all), c->id);
    if (r != 0) {
        free(c);
        return r;
    }
    *ret = c;
    return 0;
}

/* The command that does it: one that is there, or a new one. */
static int join(Unwraps *u, const UnwrapInput *input, Command **ret, bool *ret_new)
{
    Command *c = NULL, *other;
    int r = command_new(u, input, &c);

    if (r != 0)
        return r;
    other = find_in(u->active, c);
    if (!other)
        other = find_in(u->queue, c);
    *ret_new = !other;
    if (other) {
        free(c);
        hasten(u, other, input->client);
    } else
        enqueue(u, c, input->client);
    *ret = other ? other : c;
    return 0;
}

int unwrap_start(Unwraps *u, const UnwrapInput *input, identity_plaintext_t done, void *userdata,
                 Unwrap **ret)
{
    Unwrap *w = calloc(1, sizeof(*w));
    Command *c = NULL;
    bool new = false;
    int r;

    if (!w)
        return -ENOMEM;
    r = join(u, input, &c, &new);
    if (r == 0 && new && !u->pumping && u->queue == c && u->n_active < UNWRAPS_ACTIVE_MAX) {
        r = send(c);
        if (r != 0)
            command_free(c);
    }
    if (r != 0) {
        free(w);
        return r;
    }
    w->command = c;
    w->done = done;
    w->userdata = userdata;
    DL_APPEND(c->waiting, w);
    *ret = w;
    return 0;
}

Unwrap *unwrap_free(Unwrap *w)
{
    Command *c = w ? w->command : NULL;

    if (c) {
        Unwraps *u = c->owner;

        DL_DELETE(c->waiting, w);
        if (!c->waiting && !c->finished) {
            command_free(c);
            if (u->queue && sd_event_source_set_enabled(u->later, SD_EVENT_ONESHOT) < 0)
                log_error("The TPM's queue stands still");
        }
    }
    free(w);
    return NULL;
}
