/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/steady.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/log.h"

#define USEC 1000000

struct Steady {
    pthread_mutex_t lock;
    int64_t offset; /* of the time that is believed to CLOCK_BOOTTIME */
    int64_t since;  /* when the clock was first doubted, by CLOCK_BOOTTIME */
    bool held;
    int64_t later;       /* offset of a clock that has been set back since */
    int64_t later_since; /* when it was, by CLOCK_BOOTTIME */
    bool has_later;
};

static void hold(Steady *s, int64_t ahead, int64_t boot)
{
    s->held = true;
    s->since = boot;
    log_event(LOG_WARNING, LOG_FIELDS({"HMSG_EVENT", "clock-held"}),
              "The clock is %" PRId64 " s further than it can be known to be: until it is put right, and for "
              "%d hours at most, messages end by the time before",
              ahead, STEADY_HOLD / 3600);
}

/* With the lock. */
static void believe(Steady *s, int64_t offset)
{
    if (s->held)
        log_event(LOG_INFO, LOG_FIELDS({"HMSG_EVENT", "clock-believed"}), "Messages end by the clock again");
    s->held = false;
    s->offset = offset;
}

int steady_new_at(int64_t known, int64_t wall, uint64_t boot, Steady **ret)
{
    const int64_t at = (int64_t)(boot / USEC);
    Steady *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    int r = -pthread_mutex_init(&s->lock, NULL);
    if (r != 0) {
        free(s);
        return r;
    }
    s->offset = wall - at;
    if (known > 0 && wall - known > STEADY_AWAY) {
        s->offset = known - at;
        hold(s, wall - known, at);
    }
    *ret = s;
    return 0;
}

int steady_new(int64_t known, Steady **ret)
{
    return steady_new_at(known, clock_realtime(), clock_boottime(), ret);
}

Steady *steady_free(Steady *s)
{
    if (!s)
        return NULL;
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

/* With the lock. */
static void look_back(Steady *s, int64_t ahead, int64_t at)
{
    if (ahead < -STEADY_LEAP && (!s->has_later || s->offset > s->later)) {
        s->has_later = true;
        s->later = s->offset;
        s->later_since = at;
    }
    if (s->has_later && at - s->later_since >= STEADY_HOLD)
        s->has_later = false;
}

static int64_t look(Steady *s, int64_t wall, int64_t at, int64_t *ret_latest)
{
    (void)pthread_mutex_lock(&s->lock);
    const int64_t ahead = wall - at - s->offset;
    look_back(s, ahead, at);
    if (ahead <= STEADY_LEAP || (s->held && at - s->since >= STEADY_HOLD))
        believe(s, wall - at);
    else if (!s->held)
        hold(s, ahead, at);
    const int64_t now = s->offset + at, later = s->has_later ? s->later + at : now;
    (void)pthread_mutex_unlock(&s->lock);
    *ret_latest = later > wall ? later : wall;
    return now;
}

int64_t steady_look(Steady *s, int64_t wall, uint64_t boot)
{
    int64_t latest = 0;

    return look(s, wall, (int64_t)(boot / USEC), &latest);
}

int64_t steady_look_latest(Steady *s, int64_t wall, uint64_t boot)
{
    int64_t latest = 0;

    (void)look(s, wall, (int64_t)(boot / USEC), &latest);
    return latest;
}

int64_t steady_latest(Steady *s)
{
    return steady_look_latest(s, clock_realtime(), clock_boottime());
}

int64_t steady_now(Steady *s)
{
    return steady_look(s, clock_realtime(), clock_boottime());
}

bool steady_held(Steady *s)
{
    (void)pthread_mutex_lock(&s->lock);
    const bool held = s->held;
    (void)pthread_mutex_unlock(&s->lock);
    return held;
}
