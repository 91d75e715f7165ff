/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "server/handler.h"

/* The links of a chain as they are read. One says where it led to only when the next does not begin there:
 * the same keys were entered again under another statement. */
typedef struct ChainWriter {
    json_t *links;
    json_t *last; /* borrowed */
    char *next;   /* where it led to */
    size_t size;
} ChainWriter;

static int end_link(ChainWriter *c, const char *begins)
{
    int r = c->last && strcmp(c->next, begins) != 0 ? json_put_text(c->last, "to", c->next) : 0;
    free(c->next);
    c->next = NULL;
    return r;
}

static int write_link(const StoreLink *l, void *userdata)
{
    ChainWriter *c = userdata;
    json_t *link = json_object(), *steps = NULL;
    c->size += strlen(l->statement) + strlen(l->steps) + strlen(l->next);
    int r = end_link(c, l->statement);
    if (r == 0)
        r = c->size < ROTATION_ANSWER_SIZE_MAX - RELAY_BODY_SIZE_MAX ? 0 : HMSG_ERROR_TOO_LARGE;
    if (r == 0)
        r = json_parse_array(l->steps, strlen(l->steps), &steps) == 0 ? 0 : -EBADMSG;
    if (r == 0)
        r = json_put_text(link, "from", l->statement);
    if (r == 0)
        r = json_put(link, "steps", steps);
    if (r == 0)
        r = json_array_append(c->links, link) == 0 ? 0 : -ENOMEM;
    json_decref(link);
    c->last = r == 0 ? link : NULL;
    c->next = r == 0 ? strdup(l->next) : NULL;
    return r == 0 && !c->next ? -ENOMEM : r;
}

/* Nothing when there is no way from there. */
static int put_chain(HttpRequest *r, const StoreIdentity *i, const uint8_t *from, json_t *j)
{
    ChainWriter c = {.links = json_array()};
    int e = c.links ? store_chain(handlers_reader(r), i->skid, from, write_link, &c) : -ENOMEM;
    if (e == 0)
        e = end_link(&c, i->statement);
    free(c.next);
    bool empty = e == HMSG_ERROR_TOO_LARGE || json_array_size(c.links) == 0;
    if (e == 0 && !empty)
        return json_put(j, "chain", c.links);
    json_decref(c.links);
    return empty && e >= 0 ? 0 : e;
}

/* From which key on the asker wants to know: *ret_given says whether. */
static int read_from(const HttpRequest *r, uint8_t ret[static KID_SIZE], bool *ret_given)
{
    const char *text = http_request_query(r, "from");
    *ret_given = text != NULL;
    return !text || base64url_decode_exact(text, strlen(text), ret, KID_SIZE) == 0 ? 0 : PROBLEM_BAD_REQUEST;
}

typedef int (*find_t)(HttpRequest *r, bool former, StoreIdentity *ret);

/* Entry and chain are of one moment: between two, the keys might change. */
static int find_entry(HttpRequest *r, find_t find, StoreIdentity *i, json_t *j)
{
    StoreReader *reader = handlers_reader(r);
    uint8_t from[KID_SIZE];
    bool given = false;
    int e = read_from(r, from, &given);
    if (e != 0)
        return e;
    e = store_snapshot(reader);
    if (e != 0)
        return handler_result(e);
    e = handler_result(find(r, given, i));
    if (e == 0 && given)
        e = handler_result(put_chain(r, i, from, j));
    store_snapshot_end(reader);
    return e;
}

static int answer_entry(HttpRequest *r, find_t find)
{
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    _cleanup_(online_key_unrefp) OnlineKey *online = NULL;
    _cleanup_(json_decrefp) json_t *j = json_object();
    int e = i ? handler_online(r, &online) : -ENOMEM;
    if (e == 0)
        e = find_entry(r, find, i, j);
    if (e != 0)
        return e;
    e = json_put_text(j, "statement", i->statement);
    if (e == 0)
        e = handler_put_binding(online, i, j);
    if (e == 0)
        http_answer_json(r, 200, j);
    return handler_result(e);
}

static int find_name(HttpRequest *r, bool former, StoreIdentity *ret)
{
    return store_find_name(handlers_reader(r), http_request_value(r, 0), ret);
}

/* GET /v1/names/{name} */
int handle_name(HttpRequest *r)
{
    int e = handler_limit(r, LIMIT_LOOKUP);
    if (e != 0)
        return e;
    return name_valid(http_request_value(r, 0)) ? answer_entry(r, find_name) : PROBLEM_NOT_FOUND;
}

/* Whoever asks from some key on is also told of those who had this one. */
static int find_key(HttpRequest *r, bool former, StoreIdentity *ret)
{
    uint8_t kid[KID_SIZE];
    int e = handler_hash(r, 0, kid);
    if (e != 0)
        return HMSG_ERROR_INVALID_ARGS;
    e = store_find_key(handlers_reader(r), kid, ret);
    return e == HMSG_ERROR_NOT_FOUND && former ? store_find_former(handlers_reader(r), kid, ret) : e;
}

/* GET /v1/keys/{kid} */
int handle_key(HttpRequest *r)
{
    int e = handler_limit(r, LIMIT_LOOKUP);
    return e == 0 ? answer_entry(r, find_key) : e;
}
