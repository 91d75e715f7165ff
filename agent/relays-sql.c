/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is kept of relays in the store. */

#include "agent/relays-internal.h"

typedef int (*each_t)(Relays *r, DbStatement **statement, const char *sql);

static int each(Relays *r, each_t f)
{
    const struct {
        DbStatement **statement;
        const char *sql;
    } all[] = {
        {&r->sql.pin_get, "SELECT pin FROM relays WHERE host_port = ?1"},
        {&r->sql.pin_put, "INSERT OR REPLACE INTO relays(host_port, pin, added) VALUES(?1, ?2, ?3)"},
        {&r->sql.pins_find, "SELECT n.pin, n.root, n.next FROM relay_pins AS k JOIN relay_pins AS n ON"
                            " n.host_port = k.host_port AND n.root = k.root"
                            " WHERE k.host_port = ?1 AND k.pin = ?2 ORDER BY n.serial DESC LIMIT 1"},
        {&r->sql.pins_announce, "INSERT INTO relay_pins(host_port, pin, root, next) VALUES(?1, ?2, ?2, ?3)"
                                " ON CONFLICT DO UPDATE SET next = ?3"},
        {&r->sql.pins_keep, "INSERT OR IGNORE INTO relay_pins(host_port, pin, root) VALUES(?1, ?2, ?3)"},
        {&r->sql.pins_follow, "INSERT OR REPLACE INTO relay_pins(host_port, pin, root) VALUES(?1, ?2, ?3)"},
        {&r->sql.ticks_get, "SELECT tick, id, signed, back FROM relay_ticks WHERE relay = ?1"},
        {&r->sql.ticks_put, "INSERT OR REPLACE INTO relay_ticks VALUES(?1, ?2, ?3, ?4, ?5)"},
        {&r->sql.registrations, "SELECT address, relay, kid FROM registrations ORDER BY relay, address"},
        {&r->sql.registration_get, "SELECT relay FROM registrations WHERE address = ?1"},
        {&r->sql.registration_put, "INSERT OR REPLACE INTO registrations(address, relay, kid, added, devices)"
                                   " VALUES(?1, ?2, ?3, ?4, ?5)"},
        {&r->sql.devices_untold, "SELECT address FROM registrations WHERE relay = ?1 AND kid = ?2"
                                 " AND devices IS NOT ?3 AND NOT (?4 AND devices IS NULL) LIMIT 1"},
        {&r->sql.registration_delete, "DELETE FROM registrations WHERE address = ?1"},
        {&r->sql.registration_at, "SELECT kid FROM registrations WHERE relay = ?1"
                                  " UNION ALL SELECT kid FROM guests WHERE relay = ?1"},
        {&r->sql.guest_put, "INSERT INTO guests(relay, kid, used) VALUES(?1, ?2, ?3) ON CONFLICT DO UPDATE"
                            " SET kid = ?2, used = ?3 WHERE kid <> ?2 OR used < ?3 - 86400"},
        {&r->sql.guest_trim, "DELETE FROM guests WHERE relay IN (SELECT relay FROM guests ORDER BY used DESC"
                             " LIMIT -1 OFFSET ?1)"},
        {&r->sql.guest_delete, "DELETE FROM guests WHERE relay = ?1"},
        {&r->sql.guests_due, "SELECT relay, kid FROM guests WHERE kid <> ?1 ORDER BY used DESC LIMIT ?2"},
        {&r->sql.own_put, "INSERT OR IGNORE INTO own_keys(skid, kid, sign_spki) VALUES(?1, ?2, ?3)"},
        {&r->sql.statement_put,
         "INSERT INTO own_statements(address, skid, first, last, added) VALUES(?1, ?2, ?3, ?3, ?4)"
         " ON CONFLICT DO UPDATE SET last = ?3, added = ?4, first = CASE WHEN ?5 THEN ?3 ELSE first END"},
        {&r->sql.statements_trim, "DELETE FROM own_statements WHERE (address, skid) IN (SELECT address, skid"
                                  " FROM own_statements ORDER BY added DESC LIMIT -1 OFFSET ?1)"},
        {&r->sql.statements, "SELECT first, last FROM own_statements WHERE address = ?1 AND skid <> ?2"
                             " ORDER BY added DESC"},
        {&r->sql.own_by_skid, "SELECT sign_spki FROM own_keys WHERE skid = ?1"},
        {&r->sql.own_by_kid, "SELECT skid FROM recovered WHERE kid = ?1"
                             " UNION ALL SELECT skid FROM own_keys WHERE kid = ?1"},
        {&r->sql.recovered_put, "INSERT OR REPLACE INTO recovered(kid, skid) VALUES(?1, ?2)"},
        {&r->sql.recovered, "SELECT kid FROM recovered ORDER BY kid LIMIT ?1"},
    };
    int e = 0;

    for (size_t i = 0; e == 0 && i < ELEMENTSOF(all); i++)
        e = f(r, all[i].statement, all[i].sql);
    return e;
}

static int prepare(Relays *r, DbStatement **statement, const char *sql)
{
    return db_prepare(store_db(r->m->store), sql, statement);
}

static int finalize(Relays *r, DbStatement **statement, const char *sql)
{
    *statement = db_statement_free(*statement);
    return 0;
}

int relays_sql_prepare(Relays *r)
{
    return each(r, prepare);
}

void relays_sql_done(Relays *r)
{
    (void)each(r, finalize);
}
