/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* JSON bodies that a relay is sent, through its table of routes and its handlers, over a store of its own.
 * The first byte, a digit mostly, says to which. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "server/route.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/server/handlers-util.h"

typedef struct Place {
    const char *method, *target;
} Place;

static const Place places[] = {
    {"POST", "/v1/nonces"},
    {"POST", "/v1/challenges"},
    {"POST", "/v1/registrations"},
    {"POST", "/v1/unregistrations"},
    {"POST", "/v1/logins"},
    {"POST", "/v1/rotations"},
    {"POST", "/v1/mailbox/acknowledgements"},
    {"POST", "/v1/mailbox/capabilities"},
    {"POST", "/v1/mailbox/capabilities/revocations"},
    {"PUT", "/v1/mailbox/settings"},
};

typedef struct Subject {
    TestRelay relay;
    DoubleConnection *known; /* logged in */
    uint32_t count;
    const HttpRoute *routes, *route; /* all, and that of the request at hand */
} Subject;

static Subject *relay;

#pragma weak fuzz_pause /* only faults.c has it and the next */
#pragma weak fuzz_has_faulted

static bool pause_faults(bool paused)
{
    return fuzz_pause ? fuzz_pause(paused) : false;
}

static bool may_have_faulted(void)
{
    return fuzz_has_faulted && fuzz_has_faulted();
}

/* Memory fails in the handlers and in the store's thread, not in what stands around them. */
static int on_begin(HttpRequest *r)
{
    bool before = pause_faults(false);
    int result = relay->route->begin(r);

    (void)pause_faults(before);
    return result;
}

static int on_end(HttpRequest *r)
{
    bool before = pause_faults(false);
    int result = relay->route->end(r);

    (void)pause_faults(before);
    return result;
}

static HttpRoute *wrapped_routes(const HttpRoute *routes, size_t n)
{
    HttpRoute *wrapped = g_new(HttpRoute, n);

    for (size_t i = 0; i < n; i++) {
        wrapped[i] = routes[i];
        wrapped[i].begin = routes[i].begin ? on_begin : NULL;
        wrapped[i].end = routes[i].end ? on_end : NULL;
    }
    return wrapped;
}

static void find_route(const Place *place)
{
    char allow[ALLOW_SIZE] = "";
    Target target;

    fuzz_must(target_parse(place->target, strlen(place->target), &target) == 0 &&
                  route_find(relay->routes, relay->known->n_routes, place->method, &target, &relay->route,
                             allow) == 0,
              "there is such a route");
}

static void at_end(void)
{
    g_free((HttpRoute *)(uintptr_t)relay->known->routes);
    double_close(relay->known);
    test_relay_tear_down(&relay->relay, NULL);
    g_free(relay);
}

/* Once for a process: keys take long to make. */
static void begin(void)
{
    g_autoptr(DoubleConnection) c = NULL;

    if (relay)
        return;
    relay = g_new0(Subject, 1);
    test_relay_set_up(&relay->relay, NULL);
    c = test_relay_connect(&relay->relay);
    fuzz_must(test_register_person(&relay->relay, c, test_person(0), "alice") == 201,
              "somebody is registered");
    relay->known = test_login(&relay->relay, test_person(0), NULL);
    relay->routes = relay->known->routes;
    relay->known->routes = wrapped_routes(relay->routes, relay->known->n_routes);
    (void)atexit(at_end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)pause_faults(true);
    begin();
    if (size == 0)
        return 0;
    /* from another address now and then, since each may ask only so often */
    struct sockaddr_in *peer = (struct sockaddr_in *)&relay->known->client.peer;
    peer->sin_addr.s_addr = htonl(relay->count++ / 64);
    const Place *place = &places[(uint8_t)(data[0] - '0') % G_N_ELEMENTS(places)];
    const DoubleCall call = {.method = place->method,
                             .target = place->target,
                             .body = data + 1,
                             .size = size - 1,
                             .headers = (const char *const[]){"content-type: application/json", NULL}};
    find_route(place);
    g_autoptr(DoubleAnswer) a = double_call(relay->known, &call);

    fuzz_must(a->status >= 200 && a->status < 600 && (a->status != 500 || may_have_faulted()),
              "each request is answered, none by a fault");
    if (a->status >= 400)
        fuzz_must(a->json != NULL, "a refusal is a problem document");
    return 0;
}
