/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Where we are guests, and by which key: after a rotation those relays are told as well, so that nothing can
 * be done there with a key that was given up. */

#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "agent/relays-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"

int guests_note(Connection *c)
{
    const IdentityPublic *p = identity_public(c->owner->m->identity);
    DbStatement *put = c->owner->sql.guest_put, *trim = c->owner->sql.guest_trim;
    int r;

    if (!p || relays_is_ours(c->owner, c->text))
        return 0;
    db_bind_text(put, 1, c->text);
    db_bind_text(put, 2, p->kid);
    db_bind_number(put, 3, clock_realtime());
    r = db_run(put);
    if (r != 0 || db_changes(store_db(c->owner->m->store)) == 0)
        return r;
    db_bind_number(trim, 1, RELAYS_GUESTS_MAX);
    return db_run(trim);
}

int guests_forget(Connection *c)
{
    DbStatement *remove = c->owner->sql.guest_delete;

    db_bind_text(remove, 1, c->text);
    return db_run(remove);
}

/* Is the newest rotation so new that a relay which was not reached yet may only be away? */
static bool is_recent(const Relays *r)
{
    int64_t age, newest = 0;
    const char *text;
    RotateStatement s;

    for (size_t i = 0; (text = identity_rotation(r->m->identity, i)); i++)
        if (rotate_statement_peek(text, strlen(text), &s) == 0)
            newest = s.iat;
    age = clock_realtime() - newest;
    return newest != 0 && age >= 0 && age < (int64_t)RELAYS_GUEST_PATIENCE;
}

int guests_tell(Relays *r)
{
    const IdentityPublic *p = identity_public(r->m->identity);
    _cleanup_(db_resetp) DbStatement *due = r->sql.guests_due;
    bool row = false;
    int e;

    if (!p || !is_recent(r))
        return 0;
    db_bind_text(due, 1, p->kid);
    db_bind_number(due, 2, RELAYS_CONNECTIONS_MAX / 4);
    while ((e = db_step(due, &row)) == 0 && row) {
        const char *relay = db_column_text(due, 0, NULL);
        Connection *c;
        Relay parsed;

        if (!rotate_is_former(r, db_column_text(due, 1, NULL)) || relay_parse(relay, &parsed) != 0 ||
            connection_get(r, &parsed, false, &c) != 0)
            continue;
        c->telling = true;
        login_keep(c, true);
    }
    return e;
}

void guests_told(Connection *c)
{
    c->telling = false;
    if (c->kept || relays_is_ours(c->owner, c->text))
        return;
    c->listening = false;
    if (!connection_is_idle(c)) {
        c->listening = true;
        return;
    }
    login_forget(c);
    login_stop(c);
}
