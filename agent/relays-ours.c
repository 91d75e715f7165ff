/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Where we have mailboxes. */

#include <errno.h>
#include <string.h>

#include "agent/relays-internal.h"

void relays_free_ours(Relays *r)
{
    for (size_t i = 0; i < r->n_ours; i++)
        free(r->ours[i]);
    free(r->ours);
    r->ours = NULL;
    r->n_ours = 0;
}

static int add_ours(Relays *r, const char *relay)
{
    char **ours;

    if (r->n_ours > 0 && strcmp(r->ours[r->n_ours - 1], relay) == 0)
        return 0;
    ours = reallocarray(r->ours, r->n_ours + 1, sizeof(*ours));
    if (!ours)
        return -ENOMEM;
    r->ours = ours;
    ours[r->n_ours] = strdup(relay);
    if (!ours[r->n_ours])
        return -ENOMEM;
    r->n_ours++;
    return 0;
}

int relays_load_ours(Relays *r)
{
    const IdentityPublic *p = identity_public(r->m->identity);
    _cleanup_(db_resetp) DbStatement *s = r->sql.registrations;
    bool row = false;
    int e;

    relays_free_ours(r);
    while ((e = db_step(s, &row)) == 0 && row && e == 0) {
        const char *kid = db_column_text(s, 2, NULL);

        /* of an identity that is no more: nobody can log in there */
        if (!p || strcmp(p->kid, kid) == 0 || rotate_is_former(r, kid))
            e = add_ours(r, db_column_text(s, 1, NULL));
        if (e != 0)
            break;
    }
    return e;
}

bool relays_is_ours(const Relays *r, const char *relay)
{
    for (size_t i = 0; i < r->n_ours; i++)
        if (strcmp(r->ours[i], relay) == 0)
            return true;
    return false;
}

size_t relays_ours(Relays *r, const char *const **ret)
{
    *ret = (const char *const *)r->ours;
    return r->n_ours;
}

static const char *state_name(const Relays *r, const Connection *c, const char *kid)
{
    const IdentityPublic *p = identity_public(r->m->identity);

    if (p && strcmp(p->kid, kid) != 0 && rotate_is_former(r, kid))
        return "rotating";
    if ((p && strcmp(p->kid, kid) != 0) || (c && c->unregistered))
        return "unregistered";
    if (!c)
        return "offline";
    if (c->listening)
        return "connected";
    return c->state != CONNECTION_OFF || c->listen ? "connecting" : "offline";
}

int relays_each_registration(Relays *r, relays_registration_t f, void *userdata)
{
    _cleanup_(db_resetp) DbStatement *s = r->sql.registrations;
    bool row = false;
    int e;

    while ((e = db_step(s, &row)) == 0 && row) {
        const char *relay = db_column_text(s, 1, NULL);
        const Connection *c = connection_find(r, relay);
        const char *error = c ? c->error : "";

        if (!*error && ticks_went_back(r, relay))
            error = "It has gone back to a former state: what it had accepted may be lost";
        e = f(db_column_text(s, 0, NULL), c ? c->there : relay, state_name(r, c, db_column_text(s, 2, NULL)),
              error, userdata);
        if (e != 0)
            return e;
    }
    return e;
}

static int find_own(const char *address, const char *relay, const char *state, const char *error,
                    void *userdata)
{
    OwnMailbox *own = userdata;

    if (*own->wanted && strcmp(own->wanted, address) != 0)
        return 0;
    own->n++;
    if (strlen(address) >= sizeof(own->address) || strlen(relay) >= sizeof(own->relay))
        return -EBADMSG;
    memcpy(own->address, address, strlen(address) + 1);
    memcpy(own->relay, relay, strlen(relay) + 1);
    return 0;
}

int relays_own_mailbox(Relays *r, const char *address, OwnMailbox *ret)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(ADDRESS_SIZE_MAX);
    Address parsed;
    int e = 0;

    if (*address)
        e = address_parse(address, &parsed);
    if (e == 0 && *address)
        e = address_format(&parsed, false, &text);
    if (e != 0)
        return e;
    *ret = (OwnMailbox){.wanted = *address ? buf_text(&text) : ""};
    e = relays_each_registration(r, find_own, ret);
    ret->wanted = "";
    if (e == 0 && ret->n > 1)
        return HMSG_ERROR_INVALID_ARGS;
    return e == 0 && ret->n == 0 ? HMSG_ERROR_NOT_FOUND : e;
}
