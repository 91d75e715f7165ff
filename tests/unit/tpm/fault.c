/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/tpm/fault.h"

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tctildr.h>
#include <unistd.h>

#define MAGIC 0x686d73676661756cull
#define HEAD 10u
#define ANSWER_MAX 4096u
#define EXTRA 16u
#define EXPORTED __attribute__((visibility("default")))

typedef struct Fault {
    TSS2_TCTI_CONTEXT_COMMON_V1 common; /* first: what the TSS sees */
    TSS2_TCTI_CONTEXT *inner;
    FaultPlan *plan;
    bool now;  /* it is this command */
    bool lost; /* the connection */
    int fd;    /* readable while there is more of an answer */
    bool here; /* the answer */
    uint8_t answer[ANSWER_MAX + EXTRA];
    size_t n;
} Fault;

const TSS2_TCTI_INFO *Tss2_Tcti_Info(void);

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* TPM2_Startup(CLEAR), as firmware sends it. */
static TSS2_RC restart(Fault *f)
{
    static const uint8_t startup[] = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0};
    uint8_t answer[ANSWER_MAX];
    size_t n = sizeof(answer);
    TSS2_RC rc;

    f->plan->reset(f->plan->userdata);
    rc = Tss2_Tcti_Transmit(f->inner, sizeof(startup), startup);
    return rc == TSS2_RC_SUCCESS ? Tss2_Tcti_Receive(f->inner, &n, answer, TSS2_TCTI_TIMEOUT_BLOCK) : rc;
}

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *context, size_t size, const uint8_t *command)
{
    Fault *f = (Fault *)context;

    f->now = f->plan->seen++ == f->plan->at;
    f->lost = f->lost || (f->now && f->plan->kind == FAULT_REFUSED);
    if (f->lost)
        return TSS2_TCTI_RC_IO_ERROR;
    f->here = false;
    TSS2_RC rc = f->now && f->plan->kind == FAULT_RESET ? restart(f) : TSS2_RC_SUCCESS;
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    rc =
        f->now && f->plan->kind == FAULT_CODE ? TSS2_RC_SUCCESS : Tss2_Tcti_Transmit(f->inner, size, command);
    if (rc == TSS2_RC_SUCCESS && f->now && f->plan->kind == FAULT_SILENT)
        return rc; /* nobody is told of an answer */
    return rc == TSS2_RC_SUCCESS && eventfd_write(f->fd, 1) < 0 ? TSS2_TCTI_RC_IO_ERROR : rc;
}

static void make_garbage(uint8_t *bytes, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        bytes[i] = (uint8_t)(0xa5u ^ (i * 37u));
}

/* The answer as it arrives; its new size. */
static size_t spoil(const FaultPlan *p, uint8_t *answer, size_t n)
{
    switch (p->kind) {
    case FAULT_EMPTY:
        return 0;
    case FAULT_SHORT:
        return n / 2;
    case FAULT_LAST_BYTE:
        return n - 1;
    case FAULT_LONG:
        make_garbage(answer, n, n + EXTRA);
        return n + EXTRA;
    case FAULT_SIZE:
        put_u32(answer + 2, UINT32_MAX);
        return n;
    case FAULT_GARBAGE:
        make_garbage(answer, 0, n);
        return n;
    case FAULT_GARBAGE_BODY:
        make_garbage(answer, HEAD, n);
        return n;
    case FAULT_CODE:
    case FAULT_REFUSED:
    case FAULT_LOST:
    case FAULT_SILENT:
    case FAULT_RESET:
    default:
        return n;
    }
}

static TSS2_RC fetch(Fault *f, int32_t timeout)
{
    f->n = ANSWER_MAX;
    if (f->now && f->plan->kind == FAULT_CODE) {
        memcpy(f->answer, "\x80\x01\0\0\0\x0a", 6);
        put_u32(f->answer + 6, f->plan->code);
        f->n = HEAD;
    } else {
        TSS2_RC rc = Tss2_Tcti_Receive(f->inner, &f->n, f->answer, timeout);
        if (rc != TSS2_RC_SUCCESS)
            return rc;
        f->lost = f->now && f->plan->kind == FAULT_LOST;
        if (f->lost)
            return TSS2_TCTI_RC_IO_ERROR;
        if (f->now)
            f->n = spoil(f->plan, f->answer, f->n);
    }
    f->here = true;
    return TSS2_RC_SUCCESS;
}

static void all_read(Fault *f)
{
    eventfd_t ignored;

    (void)eventfd_read(f->fd, &ignored);
}

/* Who asks for the size has the head read by that, as from the kernel's device: there is nothing to poll for
 * any more when that was all. */
static TSS2_RC receive(TSS2_TCTI_CONTEXT *context, size_t *size, uint8_t *response, int32_t timeout)
{
    Fault *f = (Fault *)context;
    TSS2_RC rc = f->lost ? TSS2_TCTI_RC_IO_ERROR : f->here ? TSS2_RC_SUCCESS : fetch(f, timeout);

    if (rc != TSS2_RC_SUCCESS)
        return rc;
    if (!response) {
        *size = f->n;
        if (f->n <= HEAD)
            all_read(f);
        return TSS2_RC_SUCCESS;
    }
    if (f->n > *size)
        return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
    memcpy(response, f->answer, f->n);
    *size = f->n;
    all_read(f);
    return TSS2_RC_SUCCESS;
}

static TSS2_RC get_poll_handles(TSS2_TCTI_CONTEXT *context, TSS2_TCTI_POLL_HANDLE *handles, size_t *n)
{
    if (handles)
        handles[0] = (TSS2_TCTI_POLL_HANDLE){.fd = ((Fault *)context)->fd, .events = POLLIN};
    *n = 1;
    return TSS2_RC_SUCCESS;
}

static void finalize(TSS2_TCTI_CONTEXT *context)
{
    Fault *f = (Fault *)context;

    Tss2_TctiLdr_Finalize(&f->inner);
    (void)close(f->fd);
}

static TSS2_RC initialize(TSS2_TCTI_CONTEXT *context, size_t *size, const char *conf)
{
    Fault *f = (Fault *)context;

    if (!context) {
        *size = sizeof(Fault);
        return TSS2_RC_SUCCESS;
    }
    FaultPlan *plan =
        (FaultPlan *)(uintptr_t)strtoull(conf, NULL, 16); /* NOLINT(performance-no-int-to-ptr) */
    *f = (Fault){.common = {.magic = MAGIC,
                            .version = 1,
                            .transmit = transmit,
                            .receive = receive,
                            .finalize = finalize,
                            .getPollHandles = get_poll_handles},
                 .plan = plan,
                 .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    TSS2_RC rc = f->fd < 0 ? TSS2_TCTI_RC_IO_ERROR : Tss2_TctiLdr_Initialize(plan->inner, &f->inner);
    if (rc != TSS2_RC_SUCCESS && f->fd >= 0)
        (void)close(f->fd);
    return rc;
}

EXPORTED const TSS2_TCTI_INFO *Tss2_Tcti_Info(void)
{
    static const TSS2_TCTI_INFO info = {
        .version = 1, .name = "swtpm-fault", .config_help = "address of a FaultPlan", .init = initialize};

    return &info;
}

/* It begins with "swtpm", so that the runner takes it for what it is: a TPM without resource manager. */
EXPORTED void fault_conf(FaultPlan *plan, char ret[static FAULT_CONF_SIZE])
{
    (void)snprintf(ret, FAULT_CONF_SIZE, "swtpm-fault:%llx", (unsigned long long)(uintptr_t)plan);
}
