/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A bus with the fake agent of fake-agent.c on it. */

#include "tests/lib/bus.h"
#include "tests/lib/process.h"

typedef struct Fake {
    char *folder;
    char *log; /* a file: each call as a line */
    TestBus *bus;
    TestProcess *agent;
    char *environment[3]; /* of clients, for test_run */
} Fake;

/* With start false there is only the bus. */
void fake_set_up(Fake *f, gboolean start);
void fake_start(Fake *f);
void fake_stop(Fake *f);
void fake_tear_down(Fake *f);

/* The last line of the log; to be freed. */
char *fake_last_call(const Fake *f);
