/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tctildr.h>

#include "libhmsg/tpm/runner-internal.h"

#define MAGIC 0x686d736774637469ull
#define HEAD 10u /* tag, size, command code or response code */
#define HANDLES_MAX 4u

typedef struct Tcti {
    TSS2_TCTI_CONTEXT_COMMON_V1 common; /* first: what the TSS sees */
    TSS2_TCTI_CONTEXT *inner;
    int cancel_fd;
    Counter *counter;
    bool sent;
    bool whole; /* the answer is a head, and that was read when its size was asked for */
} Tcti;

Counter *counter_unref(Counter *c)
{
    if (c && atomic_fetch_sub(&c->references, 1) == 1)
        free(c);
    return NULL;
}

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static void count(Counter *c, const uint8_t *command, size_t size)
{
    if (size < HEAD)
        return;
    uint32_t code = read_u32(command + 6);
    atomic_fetch_add(&c->all, 1);
    if (code >= COUNT_FIRST && code - COUNT_FIRST < COUNT_CODES)
        atomic_fetch_add(&c->codes[code - COUNT_FIRST], 1);
}

static bool cancelled(const Tcti *t)
{
    struct pollfd p = {.fd = t->cancel_fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *context, size_t size, const uint8_t *command)
{
    Tcti *t = (Tcti *)context;
    t->sent = false;
    t->whole = false;
    if (cancelled(t))
        return TSS2_TCTI_RC_IO_ERROR;
    count(t->counter, command, size);
    TSS2_RC rc = Tss2_Tcti_Transmit(t->inner, size, command);
    t->sent = rc == TSS2_RC_SUCCESS; /* refused by a stale connection: the TPM has not got all of it */
    return rc;
}

/* Until there is an answer to read. A TCTI that has nothing to poll is left to block. */
static TSS2_RC wait_for_answer(Tcti *t)
{
    TSS2_TCTI_POLL_HANDLE handles[HANDLES_MAX];
    struct pollfd p[HANDLES_MAX + 1];
    size_t n = 0;

    if (Tss2_Tcti_GetPollHandles(t->inner, NULL, &n) != TSS2_RC_SUCCESS || n == 0 || n > HANDLES_MAX ||
        Tss2_Tcti_GetPollHandles(t->inner, handles, &n) != TSS2_RC_SUCCESS)
        return TSS2_RC_SUCCESS;
    for (size_t i = 0; i < n; i++)
        p[i] = (struct pollfd){.fd = handles[i].fd, .events = POLLIN};
    p[n] = (struct pollfd){.fd = t->cancel_fd, .events = POLLIN};
    int r;
    do
        r = poll(p, n + 1, -1);
    while (r < 0 && errno == EINTR);
    return r < 0 || p[n].revents != 0 ? TSS2_TCTI_RC_IO_ERROR : TSS2_RC_SUCCESS;
}

/* The TSS takes less than a head for one, with what the buffer held before. An
 * error is a head and no more. */
static bool is_answer(const uint8_t *response, size_t size)
{
    if (size < HEAD || read_u32(response + 2) != size)
        return false;
    unsigned tag = (unsigned)response[0] << 8 | response[1];
    return read_u32(response + 6) == 0
               ? tag == TPM2_ST_NO_SESSIONS || tag == TPM2_ST_SESSIONS
               : size == HEAD && (tag == TPM2_ST_NO_SESSIONS || tag == TPM2_ST_RSP_COMMAND);
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *context, size_t *size, uint8_t *response, int32_t timeout)
{
    Tcti *t = (Tcti *)context;
    /* a device has nothing to poll for once all was read */
    TSS2_RC rc = t->whole ? TSS2_RC_SUCCESS : wait_for_answer(t);
    if (rc == TSS2_RC_SUCCESS)
        rc = Tss2_Tcti_Receive(t->inner, size, response, timeout);
    t->whole = rc == TSS2_RC_SUCCESS && !response && *size <= HEAD;
    return rc == TSS2_RC_SUCCESS && response && !is_answer(response, *size) ? TSS2_TCTI_RC_MALFORMED_RESPONSE
                                                                            : rc;
}

static void finalize(TSS2_TCTI_CONTEXT *context)
{
    Tcti *t = (Tcti *)context;
    Tss2_TctiLdr_Finalize(&t->inner);
}

int tcti_open(const char *conf, int cancel_fd, Counter *counter, TSS2_TCTI_CONTEXT **ret)
{
    Tcti *t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    if (Tss2_TctiLdr_Initialize(conf, &t->inner) != TSS2_RC_SUCCESS) {
        free(t);
        return -ENODEV;
    }
    t->common = (TSS2_TCTI_CONTEXT_COMMON_V1){
        .magic = MAGIC, .version = 1, .transmit = transmit, .receive = receive, .finalize = finalize};
    t->cancel_fd = cancel_fd;
    t->counter = counter;
    *ret = (TSS2_TCTI_CONTEXT *)t;
    return 0;
}

bool tcti_sent(const TSS2_TCTI_CONTEXT *t)
{
    return ((const Tcti *)t)->sent;
}

void tcti_close(TSS2_TCTI_CONTEXT *t)
{
    if (t)
        finalize(t);
    free(t);
}
