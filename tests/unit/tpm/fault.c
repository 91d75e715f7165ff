/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/tpm/fault.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tctildr.h>

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
} Fault;

const TSS2_TCTI_INFO *Tss2_Tcti_Info(void);

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *context, size_t size, const uint8_t *command)
{
    Fault *f = (Fault *)context;

    f->now = f->plan->seen++ == f->plan->at;
    f->lost = f->lost || (f->now && f->plan->kind == FAULT_REFUSED);
    if (f->lost)
        return TSS2_TCTI_RC_IO_ERROR;
    return f->now && f->plan->kind == FAULT_CODE ? TSS2_RC_SUCCESS
                                                 : Tss2_Tcti_Transmit(f->inner, size, command);
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
    default:
        return n;
    }
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *context, size_t *size, uint8_t *response, int32_t timeout)
{
    Fault *f = (Fault *)context;
    uint8_t answer[ANSWER_MAX + EXTRA];
    size_t n = ANSWER_MAX;

    if (f->lost)
        return TSS2_TCTI_RC_IO_ERROR;
    if (!response) { /* how much it may be */
        *size = ANSWER_MAX;
        return TSS2_RC_SUCCESS;
    }
    if (f->now && f->plan->kind == FAULT_CODE) {
        memcpy(answer, "\x80\x01\0\0\0\x0a", 6);
        put_u32(answer + 6, f->plan->code);
        n = HEAD;
    } else {
        TSS2_RC rc = Tss2_Tcti_Receive(f->inner, &n, answer, timeout);
        if (rc != TSS2_RC_SUCCESS)
            return rc;
        f->lost = f->now && f->plan->kind == FAULT_LOST;
        if (f->lost)
            return TSS2_TCTI_RC_IO_ERROR;
        if (f->now)
            n = spoil(f->plan, answer, n);
    }
    if (n > *size)
        return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
    memcpy(response, answer, n);
    *size = n;
    return TSS2_RC_SUCCESS;
}

static void finalize(TSS2_TCTI_CONTEXT *context)
{
    Tss2_TctiLdr_Finalize(&((Fault *)context)->inner);
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
                            .finalize = finalize},
                 .plan = plan};
    return Tss2_TctiLdr_Initialize(plan->inner, &f->inner);
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
