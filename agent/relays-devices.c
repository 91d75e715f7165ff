/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A change of our devices that a relay was not told of, for it was away or the agent ended, is told when we
 * are connected to it: a device that was taken back must not get what is sent from then on. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/own-devices.h"
#include "agent/relays-internal.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

#define ADDRESS_TEXT_SIZE (NAME_SIZE_MAX + 1u + RELAY_TEXT_SIZE)

void devices_stop(Connection *c)
{
    c->devices = relays_request_free(c->devices);
    c->devices_later = sd_event_source_disable_unref(c->devices_later);
}

static int on_later(sd_event_source *source, uint64_t usec, void *userdata)
{
    Connection *c = userdata;

    c->devices_later = sd_event_source_disable_unref(c->devices_later);
    devices_tell(c);
    return 0;
}

static void later(Connection *c, int r, const char *detail)
{
    log_info("Relay %s:%u has not been told of our devices: %s", c->address.host, c->address.port, detail);
    if (r == HMSG_ERROR_LOCKED || c->devices_later) /* we are told when that is over */
        return;
    if (sd_event_add_time_relative(c->owner->m->event, &c->devices_later, CLOCK_BOOTTIME,
                                   (uint64_t)RELAYS_RECONNECT_MAX * 1000000u, 0, on_later, c) < 0)
        log_error("No timer for relay %s:%u", c->address.host, c->address.port);
}

/* An address of ours whose statement there names other devices; "" when there is none. */
static int find_untold(const Connection *c, char ret[static ADDRESS_TEXT_SIZE])
{
    const IdentityPublic *p = identity_public(c->owner->m->identity);
    _cleanup_(db_resetp) DbStatement *find = c->owner->sql.devices_untold;
    uint8_t digest[SHA256_SIZE];
    bool row = false;
    Devices named;
    int r;

    ret[0] = 0;
    if (!p)
        return 0;
    r = own_devices_name(store_db(c->owner->m->store), &named);
    if (r == 0)
        r = own_devices_digest(&named, digest);
    if (r != 0)
        return r;
    db_bind_text(find, 1, c->text);
    db_bind_text(find, 2, p->kid);
    db_bind_bytes(find, 3, digest, sizeof(digest));
    db_bind_number(find, 4, named.n == 0);
    r = db_step(find, &row);
    if (r != 0 || !row)
        return r;
    const char *address = db_column_text(find, 0, NULL);
    int n = snprintf(ret, ADDRESS_TEXT_SIZE, "%.*s@%s", (int)strcspn(address, "@"), address, c->there);
    return n < 0 || (size_t)n >= ADDRESS_TEXT_SIZE ? -EBADMSG : 0;
}

static void on_told(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    char name[NAME_SIZE_MAX + 1], next[ADDRESS_TEXT_SIZE] = "";
    Connection *c = userdata;

    memcpy(name, c->devices->name, sizeof(name));
    if (r == 0)
        r = find_untold(c, next);
    if (r == 0 && strcspn(next, "@") == strlen(name) && strncmp(next, name, strlen(name)) == 0) {
        r = HMSG_ERROR_QUOTA_EXCEEDED; /* once at a time, whatever else has changed */
        detail = "they have changed again";
    }
    if (r != 0)
        later(c, r, *detail ? detail : error_message(r));
    c->devices = relays_request_free(c->devices);
    if (r == 0)
        devices_tell(c); /* of another address there */
}

void devices_tell(Connection *c)
{
    char address[ADDRESS_TEXT_SIZE];
    int r;

    if (!c->listening || c->devices)
        return;
    /* a new connection, or another change, is not to wait for it */
    c->devices_later = sd_event_source_disable_unref(c->devices_later);
    r = find_untold(c, address);
    if (r == 0 && address[0])
        r = relays_register(c->owner, address, NULL, false, on_told, c, &c->devices);
    if (r != 0)
        later(c, r, error_message(r));
}

void devices_tell_all(Relays *r)
{
    Connection *c;

    DL_FOREACH (r->connections, c)
        devices_tell(c);
}
