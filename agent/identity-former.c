/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Former decrypt keys: what opens with them, and their end. Their files go first and the counter is raised
 * after it, again at the next start when that was cut short (identity_settle). */

#include <errno.h>
#include <string.h>

#include "agent/identity-internal.h"
#include "agent/vault.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

#define CONFIG_SECTION "keys"
#define GRACE_DEFAULT (30u * 86400u) /* seconds */
#define PATIENCE_DEFAULT 600u        /* seconds */
#define PATIENCE_MAX 86400u
#define USEC UINT64_C(1000000)
#define LOOK_MAX (3600u * USEC) /* the wall clock may be set meanwhile */
#define LOOK_HELD (60u * USEC)  /* what holds a key may be gone by other ways than it says */
#define LOOK_ACCURACY (USEC / 2)

const char *identity_rotation(const Identity *i, size_t n)
{
    return i->keys && n < i->keys->n_rotations ? i->keys->rotations[n] : NULL;
}

unsigned identity_former(const Identity *i, int64_t *ret_until)
{
    unsigned n = i->keys ? i->keys->n_former : 0;

    if (ret_until)
        *ret_until = n > 0 ? i->keys->former[n - 1].until : 0;
    return n;
}

bool identity_former_get(const Identity *i, unsigned n, IdentityFormer *ret)
{
    const FormerKey *f;

    if (n >= identity_former(i, NULL))
        return false;
    f = &i->keys->former[n];
    *ret = (IdentityFormer){.generation = f->generation, .until = f->until, .held = f->due};
    base64url_encode(f->kid, KID_SIZE, ret->kid);
    return true;
}

size_t identity_kids(const Identity *i, uint8_t ret[static IDENTITY_KIDS_MAX][KID_SIZE])
{
    size_t n = 0;

    _Static_assert(IDENTITY_KIDS_MAX > KEYS_FORMER_MAX, "room for all");
    if (!i->keys)
        return 0;
    memcpy(ret[n++], i->keys->public.kid_bytes, KID_SIZE);
    for (unsigned f = 0; f < i->keys->n_former; f++)
        memcpy(ret[n++], i->keys->former[f].kid, KID_SIZE);
    return n;
}

int identity_decrypt_key(const Identity *i, const uint8_t kid[static KID_SIZE], RsaKey **ret)
{
    const TpmKeyFile *key = i->keys ? identity_keys_find(i->keys, kid) : NULL;
    size_t n = 0;

    if (!key)
        return HMSG_ERROR_NOT_FOR_US;
    const uint8_t *spki = tpm_keyfile_spki(key, &n);
    return rsa_key_from_spki(spki, n, ret);
}

bool identity_is_ours(const Identity *i, const char *skid)
{
    char text[HASH_TEXT_SIZE];

    if (!i->keys)
        return false;
    for (unsigned f = 0; f < i->keys->n_former; f++) {
        base64url_encode(i->keys->former[f].skid, KID_SIZE, text);
        if (strcmp(text, skid) == 0)
            return true;
    }
    return strcmp(i->keys->public.skid, skid) == 0;
}

/* n: how many of the oldest are destroyed. The keys are not touched when it fails. */
static int drop(Identity *i, unsigned n)
{
    IdentityKeys *k = i->keys, rest = *k;
    int r;

    rest.n_former -= n;
    memmove(rest.former, rest.former + n, rest.n_former * sizeof(*rest.former));
    r = identity_keys_replace(i->m->data_fd, &rest);
    if (r == 0) {
        for (unsigned f = 0; f < n; f++)
            tpm_keyfile_free(k->former[f].key);
        k->n_former = rest.n_former;
        memmove(k->former, k->former + n, k->n_former * sizeof(*k->former));
    }
    bytes_wipe(&rest.counter, sizeof(rest.counter));
    return r;
}

/* What is in a store that is not open yet may hang on any of them. */
static bool is_held(const Identity *i, const FormerKey *f)
{
    char kid[HASH_TEXT_SIZE];

    if (!i->needed)
        return vault_may_open(i->m->vault);
    base64url_encode(f->kid, KID_SIZE, kid);
    return i->needed(kid, i->needed_userdata);
}

static void note_due(Identity *i)
{
    int64_t now = clock_realtime();

    for (unsigned f = 0; i->keys && f < i->keys->n_former; f++) {
        FormerKey *key = &i->keys->former[f];

        if (key->due || key->until > now)
            continue;
        key->due = true;
        if (is_held(i, key))
            log_info("A former decrypt key stays until the mail to it is encrypted to the key of now");
    }
}

/* Those that are due and not held, the oldest first: the counter ends with them in this order. */
static int destroy(Identity *i)
{
    unsigned n = 0;
    int r;

    while (i->keys && n < i->keys->n_former && i->keys->former[n].due && !is_held(i, &i->keys->former[n]))
        n++;
    if (n == 0)
        return 0;
    r = drop(i, n);
    if (r < 0) {
        log_error("A former key cannot be destroyed: %s", error_message(r));
        return r;
    }
    log_info("Destroyed %u former decrypt key%s", n, n > 1 ? "s" : "");
    identity_unsettle(i);
    return 0;
}

int identity_former_destroy(Identity *i)
{
    note_due(i);
    return destroy(i);
}

void identity_hold(Identity *i, identity_needed_t needed, void *userdata)
{
    i->needed = needed;
    i->needed_userdata = userdata;
}

void identity_released(Identity *i)
{
    unsigned before = identity_former(i, NULL);

    (void)destroy(i);
    if (identity_former(i, NULL) == before)
        return;
    identity_former_arm(i);
    identity_settle(i);
    identity_tell(i, true);
}

/* µs until the next look, by CLOCK_BOOTTIME: a clock that is set while we wait is seen by then. */
static uint64_t pause_of(const Identity *i)
{
    uint64_t now = clock_boottime(), pause = LOOK_MAX;
    int64_t left = i->keys && i->keys->n_former > 0 ? i->keys->former[0].until - clock_realtime() : INT64_MAX;

    if (left < INT64_MAX && i->keys->former[0].due)
        pause = LOOK_HELD;
    else if (left < (int64_t)(LOOK_MAX / USEC))
        pause = left > 1 ? (uint64_t)left * USEC : USEC;
    return now + pause < i->patience ? i->patience - now : pause;
}

static int on_look(sd_event_source *s, uint64_t usec, void *userdata)
{
    Identity *i = userdata;
    unsigned before = identity_former(i, NULL);

    if (clock_boottime() >= i->patience)
        (void)identity_former_destroy(i);
    identity_former_arm(i);
    identity_settle(i);
    if (identity_former(i, NULL) != before)
        identity_tell(i, true);
    return 0;
}

void identity_former_arm(Identity *i)
{
    int r;

    if (!i->keys || (i->keys->n_former == 0 && i->settled)) {
        (void)sd_event_source_set_enabled(i->former_timer, SD_EVENT_OFF);
        return;
    }
    r = sd_event_source_set_time_relative(i->former_timer, pause_of(i));
    if (r >= 0)
        r = sd_event_source_set_enabled(i->former_timer, SD_EVENT_ONESHOT);
    if (r < 0)
        log_error("No timer to destroy former keys: %s", strerror(-r));
}

static int read_seconds(const Identity *i, const char *key, uint64_t fallback, uint64_t max, uint64_t *ret)
{
    int r = config_get_seconds(i->m->config, CONFIG_SECTION, key, fallback, ret);

    if (r == 0 && *ret <= max)
        return 0;
    log_error("agent.conf: [" CONFIG_SECTION "] %s is a duration of at most %u d, as 30d", key,
              (unsigned)(max / 86400));
    return -EINVAL;
}

int identity_former_configure(Identity *i)
{
    uint64_t patience = 0;
    int r = read_seconds(i, "former", GRACE_DEFAULT, IDENTITY_GRACE_MAX, &i->grace);

    if (r == 0)
        r = read_seconds(i, "patience", PATIENCE_DEFAULT, PATIENCE_MAX, &patience);
    if (r < 0)
        return r;
    i->patience = clock_boottime() + patience * USEC;
    r = sd_event_add_time_relative(i->m->event, &i->former_timer, CLOCK_BOOTTIME, 0, LOOK_ACCURACY, on_look,
                                   i);
    if (r < 0)
        return r;
    identity_former_arm(i);
    return 0;
}
