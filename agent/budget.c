/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/budget.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uthash.h>

#include "libhmsg/base/log.h"
#include "libhmsg/base/rate.h"
#include "libhmsg/wire/limits.h"

#define SECTION "sessions"
/* A TPM opens five to twenty in a second: one sender gets a fraction of that for long, and enough at once for
 * what has gathered while the machine was off. */
#define BURST 100u
#define PER_MINUTE 60u
#define NUMBER_MAX 1000000u
#define USEC UINT64_C(1000000)

typedef struct Sender {
    UT_hash_handle hh;
    char skid[HASH_TEXT_SIZE]; /* "": the unknown ones */
    uint64_t due;
} Sender;

struct Budget {
    Rate rate;
    Sender *senders;
};

int budget_new(const Config *config, Budget **ret)
{
    Rate rate = {0};
    int r;

    r = config_get_number(config, SECTION, "burst", BURST, 1, NUMBER_MAX, &rate.burst);
    if (r >= 0)
        r = config_get_number(config, SECTION, "per-minute", PER_MINUTE, 0, NUMBER_MAX, &rate.per_minute);
    if (r < 0) {
        log_error("agent.conf: [%s] burst is a number from 1, per-minute one from 0, of at most %u", SECTION,
                  NUMBER_MAX);
        return r;
    }
    Budget *b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    b->rate = rate;
    *ret = b;
    return 0;
}

static void sender_drop(Budget *b, Sender *s)
{
    HASH_DEL(b->senders, s);
    free(s);
}

Budget *budget_free(Budget *b)
{
    Sender *s, *next;

    if (!b)
        return NULL;
    HASH_ITER (hh, b->senders, s, next)
        sender_drop(b, s);
    free(b);
    return NULL;
}

/* Whoever is due in the past is as one who was never here. */
static void make_room(Budget *b, uint64_t now)
{
    Sender *s, *next, *least = b->senders;

    HASH_ITER (hh, b->senders, s, next) {
        if (s->due < least->due)
            least = s;
    }
    HASH_ITER (hh, b->senders, s, next)
        if (s->due <= now || s == least)
            sender_drop(b, s);
}

static Sender *find(Budget *b, const char *skid, uint64_t now)
{
    char key[HASH_TEXT_SIZE]; /* also of what is too long to be one */
    Sender *s = NULL;

    (void)snprintf(key, sizeof(key), "%s", skid);
    HASH_FIND_STR(b->senders, key, s);
    if (s)
        return s;
    if (HASH_COUNT(b->senders) >= BUDGET_SENDERS_MAX)
        make_room(b, now);
    s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    memcpy(s->skid, key, sizeof(key));
    HASH_ADD_STR(b->senders, skid, s);
    return s;
}

bool budget_take(Budget *b, const char *skid, uint64_t now, unsigned *ret_wait)
{
    uint64_t wait = USEC;
    Sender *s;

    if (b->rate.per_minute == 0)
        return true;
    s = find(b, skid ? skid : "", now);
    if (s && rate_take(&b->rate, &s->due, now, &wait))
        return true;
    *ret_wait = (unsigned)(wait / USEC) + 1;
    return false;
}

unsigned budget_senders(const Budget *b)
{
    return HASH_COUNT(b->senders);
}
