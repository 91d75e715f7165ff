/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Does the time of the agent's answer tell why something does not open? Answers of every kind of failure are
 * measured one after the other in random order, and each two kinds are compared by Welch's t-test, after
 * dudect. Machines that run tests are noisy: only a difference that is gross and comes again in each round
 * fails. That the same measurement would notice one is shown with answers that do end early. */

#include "libhmsg/wire/key.h"
#include "tests/dbus/cipher.h"

#define TIMING_KINDS_MAX 8
#define TIMING_FIRST_SAMPLES 30u /* each takes a step of CIPHER_FAILURE_STEP, or more */

typedef struct TimingSamples {
    double *values;
    size_t n;
} TimingSamples;

typedef struct Timing {
    TestAgent *agent;
    RsaKey *recipient;        /* the agent's decrypt key */
    const char *const *names; /* of the kinds */
    clockid_t clock;          /* the time that counts */
    TimingSamples samples[TIMING_KINDS_MAX];
} Timing;

/* Starts the agent, without a limit for senders. password: of keys in software; NULL: they are in the TPM. */
void timing_begin(Timing *t, TestAgent *a, const char *password, const char *const *names, size_t samples);
void timing_end(Timing *t);

/* How long the answer to Decrypt takes, in microseconds. option: one that is set, or NULL. expected: the name
 * of the error that it must be; NULL: none. */
double timing_ask(const Timing *t, const void *data, size_t n, const char *option, const char *expected);

/* The same of DecryptFd, from and to memory. */
double timing_ask_fd(const Timing *t, const void *data, size_t n, const char *option, const char *expected);

/* kinds: the last one ends early, and is the control. sample: one measurement, in microseconds. */
void timing_expect_same(Timing *t, const int *kinds, size_t n_kinds, size_t n,
                        double (*sample)(void *context, int kind), void *context);
