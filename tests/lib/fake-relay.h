/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A relay that says what the test tells it to, true or hostile: HTTP/2 over TLS on a loopback port, in a
 * thread of its own. All functions may be called from the test's thread. */

#include <glib.h>
#include <stdbool.h>

#include "tests/lib/relay-chain.h"

typedef struct FakeRelay FakeRelay;

typedef struct FakeRelayOptions {
    const RelayChainOptions *chain;
    bool tls12;   /* at most */
    bool no_alpn; /* chooses no protocol */
} FakeRelayOptions;

typedef enum FakeMode {
    FAKE_ANSWER,
    FAKE_EARLY, /* before the request's body has come */
    FAKE_STALL, /* never */
    FAKE_DROP,  /* the connection is closed instead */
    FAKE_HALF,  /* and closed after half the body */
    FAKE_RESET, /* the stream is, instead of an answer */
    FAKE_OPEN,  /* the body is not ended: fake_relay_push */
} FakeMode;

typedef struct FakeAnswer {
    unsigned status; /* 0: 200 */
    const char *type;
    const void *body;
    gssize size;              /* -1: of the text */
    const char *name, *value; /* one more header field */
    bool no_length;           /* no content-length */
    FakeMode mode;
} FakeAnswer;

FakeRelay *fake_relay_new(const FakeRelayOptions *options);
void fake_relay_free(FakeRelay *r);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FakeRelay, fake_relay_free)

/* "127.0.0.1:PORT#PIN", and without pin */
const char *fake_relay_name(const FakeRelay *r);
const char *fake_relay_host_port(const FakeRelay *r);
const RelayChain *fake_relay_chain(const FakeRelay *r);

/* From now on requests of this method and path ("GET /v1/relay") are answered so. What has no answer gets
 * 404. */
void fake_relay_set(FakeRelay *r, const char *request, const FakeAnswer *answer);
void fake_relay_set_json(FakeRelay *r, const char *request, unsigned status, const char *json);
/* To all open bodies. */
void fake_relay_push(FakeRelay *r, const char *text, gsize n);
/* Closes all connections. */
void fake_relay_drop(FakeRelay *r);

unsigned fake_relay_connections(FakeRelay *r);                 /* so far */
unsigned fake_relay_requests(FakeRelay *r);                    /* so far */
unsigned fake_relay_open(FakeRelay *r);                        /* bodies that are open */
gsize fake_relay_bytes(FakeRelay *r);                          /* that came inside TLS, so far */
void fake_relay_exporter(FakeRelay *r, guint8 ret[static 32]); /* of the last connection */
/* Body of the last such request; NULL: there was none. To be freed. */
GBytes *fake_relay_body(FakeRelay *r, const char *request);
/* One of its header fields; NULL: none. To be freed. */
char *fake_relay_header(FakeRelay *r, const char *request, const char *name);
