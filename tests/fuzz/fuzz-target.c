/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Targets of requests at the relay. */

#include <string.h>

#include "server/handlers.h"
#include "server/route.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const methods[] = {"GET", "PUT", "POST", "BREW"};
    const HttpRoute *route = NULL;
    char allow[ALLOW_SIZE];
    size_t n_routes = 0;
    const HttpRoute *routes = handlers_routes(&n_routes);
    Target t;

    if (target_parse((const char *)data, size, &t) != 0)
        return 0;
    (void)target_query(&t, "after");
    for (size_t i = 0; i < ELEMENTSOF(methods); i++)
        if (route_find(routes, n_routes, methods[i], &t, &route, allow) == 0)
            fuzz_check(strcmp(route->method, methods[i]) == 0, "a route is of the method");
    return 0;
}
