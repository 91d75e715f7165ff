/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Load on a relay: as many clients as connections, on one thread; each asks the next thing when the last is
 * answered. Whatever goes wrong ends the program. */

#include "tests/bench/relay-client.h"

#define LOAD_CLIENTS 64u
#define LOAD_BODY_SIZE 4096u

/* All bodies, their ids and paths, made before the clock runs. */
typedef struct LoadMail {
    unsigned n;
    uint8_t *bodies, *ids;
    char **paths;
} LoadMail;

/* n messages; message i is for the kid at kids + i % n_kids * KID_SIZE. */
LoadMail *load_mail_new(const uint8_t *kids, unsigned n_kids, unsigned n);
void load_mail_free(LoadMail *m);

/* What it took for each message, microseconds: of the clock, and of the processor. */
typedef struct LoadCost {
    double wall, own, relay;
} LoadCost;

LoadCost load_cost_now(const BenchRelay *b);
LoadCost load_cost_since(const BenchRelay *b, LoadCost begin, unsigned messages);

/* Submits them all; each must be answered with status. */
LoadCost load_submit(const BenchRelay *b, H2 *const clients[static LOAD_CLIENTS], const LoadMail *m,
                     int status);

/* Fetches and acknowledges them all; client j takes the messages j, j + LOAD_CLIENTS, and so on, which must
 * be those of its mailbox. */
LoadCost load_fetch(const BenchRelay *b, H2 *const clients[static LOAD_CLIENTS],
                    Secret *const acks[static LOAD_CLIENTS], const LoadMail *m);
