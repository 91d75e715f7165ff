/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A relay, and clients of it that are nothing but connections: for benchmarks, and for tests that must know
 * of each request whether it was answered. */

#include "libhmsg/base/secret.h"
#include "libhmsg/wire/json.h"
#include "tests/bench/h2-client.h"
#include "tests/lib/person.h"
#include "tests/lib/process.h"

typedef struct BenchRelay {
    char *folder, *data;
    TestProcess *process;
    char *host;
    uint16_t port;
    uint8_t pin[PIN_SIZE];
} BenchRelay;

/* In b->folder; the first time the relay is made there, with tail behind its configuration. */
void bench_relay_start(BenchRelay *b, const char *tail);
void bench_relay_kill(BenchRelay *b);
/* Stops it, and frees all but the folder. Its status, as of waitpid(2). */
int bench_relay_stop(BenchRelay *b);

/* Waits for the answer, which must have this status. */
json_t *bench_relay_call(H2 *h, const char *method, const char *path, json_t *body, int status);
void bench_relay_enrol(const BenchRelay *b, H2 *h, const TestPerson *p, const char *name);
/* A connection of its own; *ret_ack (may be NULL) is the key of its acknowledgements. */
H2 *bench_relay_log_in(const BenchRelay *b, const TestPerson *p, Secret **ret_ack);
/* Acknowledges n messages, without waiting for the answer; the body is kept in text. */
void bench_relay_acknowledge(const BenchRelay *b, H2 *h, const Secret *ack, const uint8_t *ids, size_t n,
                             Buf *text, H2Answer *answer);
