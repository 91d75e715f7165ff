/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The methods of org.hmsg.Courier1: check the arguments, ask the relay, read its answer. Each returns 1 when
 * the answer comes later, or negative with *error set. */

#include "agent/courier/courier.h"

#define FETCH_SIZE_MAX ATTACHMENT_SIZE_MAX
#define LIST_ANSWER_SIZE_MAX (256u * 1024u) /* of LIST_MAX messages */

/* calls-relay.c */
int call_probe(Courier *c, sd_bus_message *m, const char *host_port, sd_bus_error *error);
void probe_finish(Probe *p);
void probes_free(Courier *c);
int call_relay(Courier *c, sd_bus_message *m, const char *relay, sd_bus_error *error);
int call_nonce(Courier *c, sd_bus_message *m, const char *relay, sd_bus_error *error);
int call_challenge(Courier *c, sd_bus_message *m, const char *relay, const void *spki, size_t n,
                   sd_bus_error *error);
int call_login(Courier *c, sd_bus_message *m, const char *relay, const char *request, sd_bus_error *error);

/* calls-directory.c */
int call_register(Courier *c, sd_bus_message *m, const char *relay, const char *statement,
                  const char *request, const void *answer, size_t n, const char *invite, const char *chain,
                  sd_bus_error *error);
int call_rotate(Courier *c, sd_bus_message *m, const char *relay, const char *statement, const char *request,
                const void *answer, size_t n, const char *steps, sd_bus_error *error);
int call_unregister(Courier *c, sd_bus_message *m, const char *relay, const char *request,
                    sd_bus_error *error);
/* from: "" for none */
int call_lookup_name(Courier *c, sd_bus_message *m, const char *relay, const char *name, const char *from,
                     sd_bus_error *error);
int call_lookup_kid(Courier *c, sd_bus_message *m, const char *relay, const char *kid, const char *from,
                    sd_bus_error *error);

/* calls-mail.c; body and destination stay the message's */
typedef struct CourierMail {
    const char *kid, *id, *capability; /* capability "": none */
    int body;
    uint64_t size, expires;
} CourierMail;
int call_submit(Courier *c, sd_bus_message *m, const char *relay, const CourierMail *mail,
                sd_bus_error *error);
int call_status(Courier *c, sd_bus_message *m, const char *relay, const char *id, sd_bus_error *error);
int call_list(Courier *c, sd_bus_message *m, const char *relay, uint64_t after, sd_bus_error *error);
int call_fetch(Courier *c, sd_bus_message *m, const char *relay, const char *id, int destination,
               sd_bus_error *error);
/* Takes the array ids over, in any case; its texts stay the message's. */
int call_acknowledge(Courier *c, sd_bus_message *m, const char *relay, const char **ids, size_t n_ids,
                     const void *mac, size_t n, sd_bus_error *error);
int call_listen(Courier *c, sd_bus_message *m, const char *relay, sd_bus_error *error);

/* calls-capability.c */
typedef struct CourierGrant {
    const void *hash, *mac;
    size_t hash_size, mac_size;
    uint64_t uses, expires;
} CourierGrant;
int call_grant(Courier *c, sd_bus_message *m, const char *relay, const CourierGrant *g, sd_bus_error *error);
int call_capabilities(Courier *c, sd_bus_message *m, const char *relay, sd_bus_error *error);
int call_revoke(Courier *c, sd_bus_message *m, const char *relay, uint64_t number, const void *mac, size_t n,
                sd_bus_error *error);

/* calls-settings.c; senders: 33 bytes for each, 1 when allowed or 0, and the skid */
typedef struct CourierSettings {
    uint64_t revision, lifetime;
    const void *senders, *mac;
    size_t size, mac_size;
} CourierSettings;
int call_settings(Courier *c, sd_bus_message *m, const char *relay, sd_bus_error *error);
int call_set_settings(Courier *c, sd_bus_message *m, const char *relay, const CourierSettings *in,
                      sd_bus_error *error);

/* Negative, with *error InvalidArgs saying what is wrong. */
int bad_argument(sd_bus_error *error, const char *what);
