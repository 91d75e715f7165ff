/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A relay that goes back to a former state, as when it is restored from a copy, has forgotten what it
 * accepted since. Its ticks tell (server/ticks.h): we remember the last one, and who reads our status is
 * told. */

#include <string.h>

#include "agent/relays-internal.h"
#include "agent/vtables.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/log.h"
#include "libhmsg/base/secret.h"

typedef struct Seen {
    Ticks ticks; /* the last one alone */
    int64_t signed_at, back;
} Seen;

static int find_seen(Connection *c, Seen *ret)
{
    _cleanup_(db_resetp) DbStatement *q = c->owner->sql.ticks_get;
    bool row = false;
    int e;

    *ret = (Seen){0};
    db_bind_text(q, 1, c->text);
    e = db_step(q, &row);
    if (e != 0 || !row)
        return e;
    ret->ticks.number = (uint64_t)db_column_number(q, 0);
    ret->ticks.n = 1;
    ret->signed_at = db_column_number(q, 2);
    ret->back = db_column_number(q, 3);
    return db_column_exact(q, 1, ret->ticks.ids[0], TICK_SIZE);
}

static int put_seen(Connection *c, const RelayStatement *s, int64_t back)
{
    DbStatement *put = c->owner->sql.ticks_put;

    db_bind_text(put, 1, c->text);
    db_bind_number(put, 2, (int64_t)s->ticks.number);
    db_bind_bytes(put, 3, s->ticks.ids[0], TICK_SIZE);
    db_bind_number(put, 4, s->nbf);
    db_bind_number(put, 5, back);
    return db_run(put);
}

static bool follows(const Ticks *seen, const Ticks *now)
{
    uint64_t past = now->number - seen->number; /* how many ticks ago it was */

    if (now->number < seen->number)
        return false;
    return past >= now->n || bytes_equal(now->ids[past], seen->ids[0], TICK_SIZE);
}

static void tell(Connection *c)
{
    log_warning("The relay %s:%u has gone back to a former state: what it accepted since may be lost",
                c->address.host, c->address.port);
    (void)manager_emit(c->owner->m, AGENT_MAIL_INTERFACE, "RelayRestored", "");
}

int ticks_check(Connection *c, const RelayStatement *s)
{
    Seen seen;
    bool back;
    int e;

    if (s->ticks.number == 0)
        return 0;
    e = find_seen(c, &seen);
    /* an answer may have been overtaken by a later one */
    if (e != 0 || (seen.ticks.number > s->ticks.number && seen.signed_at >= s->nbf))
        return e;
    back = seen.ticks.number > 0 && !follows(&seen.ticks, &s->ticks);
    if (!back && seen.ticks.number == s->ticks.number)
        return 0;
    e = put_seen(c, s, back ? clock_realtime() : seen.back);
    if (e == 0 && back)
        tell(c);
    return e;
}

bool ticks_went_back(const Relays *r, const char *relay)
{
    _cleanup_(db_resetp) DbStatement *q = r->sql.ticks_get;
    bool row = false;
    int64_t back;

    db_bind_text(q, 1, relay);
    if (db_step(q, &row) != 0 || !row)
        return false;
    back = db_column_number(q, 3);
    return back > 0 && clock_realtime() < back + (int64_t)MESSAGE_EXPIRY_MAX;
}
