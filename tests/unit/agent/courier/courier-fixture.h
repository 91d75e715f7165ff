/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The program over its socket, with a fake relay beside it. */

#include <glib.h>
#include <systemd/sd-bus.h>

#include "tests/lib/fake-relay.h"
#include "tests/lib/process.h"

#define ID_A "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define ID_B "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA"
#define HASH "\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"" /* 0123456789abcdef twice */
#define NONCE "0123456789abcdef0123456789abcdef"
#define BODY_SIZE (3 * 1024 * 1024)

typedef struct CourierFixture {
    FakeRelay *relay;
    const char *name;
    sd_bus *bus;
    pid_t pid;
    GPtrArray *signals; /* "Member argument argument" */
} CourierFixture;

/* The program alone; relay lives as long. */
void courier_start(CourierFixture *f, const char *relay);
/* Sees that the program ends well when the agent goes. */
void courier_stop(CourierFixture *f);
/* With a fake relay. */
void courier_set_up_with(CourierFixture *f, const FakeRelayOptions *o);
void courier_set_up(CourierFixture *f, gconstpointer data);
void courier_tear_down(CourierFixture *f, gconstpointer data);
/* Takes what has come. */
void courier_process(CourierFixture *f);
/* One that begins with text has come. */
bool courier_has_signal(CourierFixture *f, const char *text);
guint courier_count_signals(CourierFixture *f);
/* Must succeed. To be unreferenced. */
sd_bus_message *courier_call(CourierFixture *f, const char *member, const char *types, ...);
/* Must fail with an error that begins so; org.hmsg.Courier1.Error. is left out. */
void courier_fail(CourierFixture *f, const char *expected, const char *member, const char *types, ...);
/* Reads n strings and unreferences reply. */
void courier_check_strings(sd_bus_message *reply, unsigned n, const char *const *expected);
void courier_check_bytes(sd_bus_message *reply, const void *expected, size_t size);
/* The body of the last such request. */
void courier_check_sent(CourierFixture *f, const char *request, const char *expected);
/* The relay agrees from now on. */
void courier_log_in(CourierFixture *f);
/* Nonce works, with the exporter of the relay's last connection. */
void courier_nonce(CourierFixture *f);
/* A memfd. */
int courier_file_of(const void *data, size_t size);
/* To be freed. */
guint8 *courier_random_body(gsize size);
/* Listen works; push sends events. */
void courier_listen_to(CourierFixture *f);
void courier_push(CourierFixture *f, const char *text);
