/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/mailbox-settings.h"
#include "server/handler.h"

typedef struct Change {
    HandlerWrite w;
    MailboxSettings settings;
} Change;

static void free_change(HandlerWrite *w)
{
    Change *c = (Change *)w;
    mailbox_settings_done(&c->settings);
    free(c);
}

static void change_freep(Change **c)
{
    if (*c)
        free_change(&(*c)->w);
}

static int finish_change(HandlerWrite *w)
{
    if (w->write.result == HMSG_ERROR_ALREADY_EXISTS) {
        http_answer_problem(w->request, PROBLEM_CONFLICT,
                            "The mailbox has settings of this revision or a later one", 0);
        return PROBLEM_CONFLICT;
    }
    int e = handler_result(w->write.result);
    if (e == 0)
        http_answer_empty(w->request, 204);
    return e;
}

/* Each change writes anew what there may be a thousand of. */
static int check_rate(HttpRequest *r, const Client *c)
{
    unsigned retry = 0;
    if (limiter_take(handlers_of(r)->limiter, LIMIT_SETTINGS, c->skid, KID_SIZE, clock_boottime(), &retry))
        return 0;
    http_answer_problem(r, PROBLEM_TOO_MANY_REQUESTS, NULL, retry);
    return PROBLEM_TOO_MANY_REQUESTS;
}

/* PUT /v1/mailbox/settings */
int handle_set_settings(HttpRequest *r)
{
    static const char *const names[] = {"revision", "lifetime", "allowed", "blocked", "mac", NULL};
    _cleanup_(change_freep) Change *c = calloc(1, sizeof(*c));
    _cleanup_(json_decrefp) json_t *j = NULL;
    uint8_t mac[SHA256_SIZE];
    const Client *client = NULL;
    int e = c ? handler_own_mailbox(r, &client) : -ENOMEM;
    if (e == 0)
        e = http_request_json(r, names, &j);
    if (e != 0)
        return e;
    e = mailbox_settings_get(j, &c->settings);
    if (e != 0)
        return e > 0 ? PROBLEM_BAD_REQUEST : e;
    e = mailbox_settings_mac(client->ack_key, relay_key_pin(handlers_of(r)->key), &c->settings, mac);
    e = e == 0 ? handler_check_mac(j, mac) : handler_result(e);
    if (e == 0)
        e = check_rate(r, client);
    if (e != 0)
        return e;
    c->w.write.kind = STORE_SETTINGS;
    memcpy(c->w.write.settings.mailbox, client->kid, KID_SIZE);
    c->w.write.settings.all = &c->settings;
    c->w.finish = finish_change;
    c->w.free = free_change;
    return handler_write_start(&TAKE_PTR(c)->w, r);
}

/* GET /v1/mailbox/settings */
int handle_settings(HttpRequest *r)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    const Client *c = NULL;
    StoreSettings s = {};
    int e = j ? handler_own_mailbox(r, &c) : -ENOMEM;
    if (e == 0)
        e = handler_result(store_settings(handlers_reader(r), c->kid, &s));
    if (e == 0)
        e = json_put_number(j, "revision", (int64_t)s.revision);
    if (e == 0)
        e = json_put_number(j, "lifetime", (int64_t)s.lifetime);
    if (e == 0)
        e = json_put_number(j, "lifetime_max", handler_lifetime(r));
    if (e == 0)
        http_answer_json(r, 200, j);
    return e;
}
