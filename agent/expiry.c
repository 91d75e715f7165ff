/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/expiry.h"

#include <errno.h>

#include "agent/access.h"
#include "agent/identity.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/log.h"

#define CONFIG_SECTION "lock"
#define USEC UINT64_C(1000000)
#define ACCURACY (USEC / 2)
#define EXPIRY_MAX (30u * 86400u) /* seconds: more is a slip of the pen */

struct Expiry {
    Manager *m;
    uint64_t idle, lifetime; /* µs; 0: never */
    uint64_t unlocked;       /* CLOCK_BOOTTIME; 0: it is not */
    sd_event_source *timer;
};

static int read_seconds(const Expiry *e, const char *key, uint64_t *ret)
{
    uint64_t seconds = 0;
    int r = config_get_seconds(e->m->config, CONFIG_SECTION, key, 0, &seconds);

    if (r < 0 || seconds > EXPIRY_MAX) {
        log_error("agent.conf: [%s] %s is a duration of at most 30 d, as 15min; 0 for never", CONFIG_SECTION,
                  key);
        return -EINVAL;
    }
    *ret = seconds * USEC;
    return 0;
}

/* When it is over; UINT64_MAX: never. */
static uint64_t end(const Expiry *e)
{
    uint64_t used = access_last_call(e->m->access), when = UINT64_MAX;

    if (e->unlocked == 0)
        return when;
    if (used < e->unlocked)
        used = e->unlocked;
    if (e->lifetime > 0)
        when = e->unlocked + e->lifetime;
    if (e->idle > 0 && used + e->idle < when)
        when = used + e->idle;
    return when;
}

static int arm(Expiry *e);

static int on_time(sd_event_source *s, uint64_t usec, void *userdata)
{
    Expiry *e = userdata;

    if (clock_boottime() < end(e)) /* it was used meanwhile */
        return arm(e);
    log_info("Locked: it was unlocked, or unused, for as long as agent.conf allows");
    if (identity_lock(e->m->identity) < 0)
        log_error("Session keys may remain");
    return 0;
}

static int arm(Expiry *e)
{
    uint64_t when = end(e);
    int r;

    e->timer = sd_event_source_disable_unref(e->timer);
    if (when == UINT64_MAX)
        return 0;
    r = sd_event_add_time(e->m->event, &e->timer, CLOCK_BOOTTIME, when, ACCURACY, on_time, e);
    return r < 0 ? r : 0;
}

static void on_identity_changed(Identity *i, void *userdata)
{
    Expiry *e = userdata;
    bool unlocked = identity_state(i) != IDENTITY_LOCKED && identity_public(i);

    if (unlocked == (e->unlocked != 0))
        return;
    e->unlocked = unlocked ? clock_boottime() : 0;
    if (arm(e) < 0)
        log_error("No timer to lock the identity");
}

int expiry_new(Manager *m, Expiry **ret)
{
    _cleanup_(expiry_freep) Expiry *e = calloc(1, sizeof(*e));
    int r;

    if (!e)
        return -ENOMEM;
    e->m = m;
    r = read_seconds(e, "idle", &e->idle);
    if (r == 0)
        r = read_seconds(e, "lifetime", &e->lifetime);
    if (r == 0)
        r = identity_watch(m->identity, on_identity_changed, e);
    if (r < 0)
        return r;
    on_identity_changed(m->identity, e);
    *ret = TAKE_PTR(e);
    return 0;
}

Expiry *expiry_free(Expiry *e)
{
    if (!e)
        return NULL;
    sd_event_source_disable_unref(e->timer);
    free(e);
    return NULL;
}
