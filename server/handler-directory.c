/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "libhmsg/wire/json.h"
#include "server/handler.h"

static int answer_identity(HttpRequest *r, const StoreIdentity *i)
{
    _cleanup_(online_key_unrefp) OnlineKey *online = NULL;
    _cleanup_(json_decrefp) json_t *j = json_object();
    int e = handler_online(r, &online);
    if (e != 0)
        return e;
    e = json_put_text(j, "statement", i->statement);
    if (e == 0)
        e = handler_put_binding(online, i, j);
    if (e == 0)
        http_answer_json(r, 200, j);
    return handler_result(e);
}

/* GET /v1/names/{name} */
int handle_name(HttpRequest *r)
{
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    const char *name = http_request_value(r, 0);
    int e = i ? handler_limit(r, LIMIT_LOOKUP) : -ENOMEM;
    if (e != 0)
        return e;
    if (!name_valid(name))
        return PROBLEM_NOT_FOUND;
    e = handler_result(store_find_name(handlers_reader(r), name, i));
    return e == 0 ? answer_identity(r, i) : e;
}

/* GET /v1/keys/{kid} */
int handle_key(HttpRequest *r)
{
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    uint8_t kid[KID_SIZE];
    int e = i ? handler_limit(r, LIMIT_LOOKUP) : -ENOMEM;
    if (e == 0)
        e = handler_hash(r, 0, kid);
    if (e == 0)
        e = handler_result(store_find_key(handlers_reader(r), kid, i));
    return e == 0 ? answer_identity(r, i) : e;
}
