/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/json.h"
#include "server/handler.h"

/* GET /v1/submissions/{id} */
int handle_status(HttpRequest *r)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    StoreState state = STORE_ACCEPTED;
    uint8_t id[ID_SIZE];
    int e = handler_hash(r, 0, id);
    if (e == 0)
        e = handler_result(store_status(handlers_reader(r), http_request_client(r)->skid, id, &state));
    if (e != 0)
        return e;
    e = json_put_text(j, "state", store_state_text(state));
    if (e == 0)
        http_answer_json(r, 200, j);
    return e;
}
