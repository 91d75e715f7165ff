/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A small HTTP/2 client for benchmarks of the relay, with many connections on one thread. It believes every
 * certificate. Whatever goes wrong ends the program. */

#include <glib.h>

#include "libhmsg/base/buf.h"
#include "libhmsg/wire/limits.h"

typedef struct H2 H2;

typedef struct H2Answer {
    bool done;
    int status;
    Buf body;
} H2Answer;

H2 *h2_connect(const char *host, uint16_t port);
void h2_close(H2 *h);
const uint8_t *h2_exporter(const H2 *h); /* EXPORTER_SIZE bytes */
int h2_fd(const H2 *h);

/* Starts a request; body (may be NULL) and answer must stay until it is done. */
void h2_start(H2 *h, const char *method, const char *path, const char *type, const void *body, size_t n,
              H2Answer *answer);
/* Sends and receives what can be without waiting. */
void h2_work(H2 *h);
/* Both, until the answer is there; or until its status is (of a stream that does not end). */
void h2_wait(H2 *h, H2Answer *answer, bool whole);

/* From now on the connection may break: what was answered before is read, and then it has gone. */
void h2_let_go(H2 *h);
bool h2_gone(const H2 *h);
