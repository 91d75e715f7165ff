/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "hmsg-build.h"
#include "libhmsg/wire/json.h"
#include "server/handler.h"

/* The keys before this one, for clients that know one of them. */
static int put_successions(const OnlineKey *online, json_t *j)
{
    const char *text = online_key_successions(online);
    json_t *all = NULL;
    int e = *text ? json_parse_array(text, strlen(text), &all) : 0;
    if (e == 0 && json_array_size(all) > 0)
        return json_put(j, "successions", all);
    json_decref(all);
    return e;
}

/* GET /v1/relay */
int handle_relay(HttpRequest *r)
{
    _cleanup_(online_key_unrefp) OnlineKey *online = NULL;
    _cleanup_(json_decrefp) json_t *j = json_object();
    int e = handler_online(r, &online);
    if (e != 0)
        return e;
    e = handler_put_relay(online, j);
    if (e == 0)
        e = json_put_number(j, "message_bytes", MESSAGE_SIZE_MAX);
    if (e == 0)
        e = json_put_number(j, "attachment_bytes", (int64_t)handlers_of(r)->options->attachment_size);
    if (e == 0)
        e = json_put_text(j, "version", HMSG_VERSION);
    if (e == 0)
        e = put_successions(online, j);
    if (e == 0)
        http_answer_json(r, 200, j);
    return e;
}
