/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is other for keys in software than for those in a TPM. They have a folder that begins with zeros
 * instead of an SRK Name; their authorization value is the AES key of their files; and since nothing counts
 * wrong passwords, the agent lets one wait after some of them. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/identity-files-internal.h"
#include "agent/identity-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"
#include "libhmsg/tpm/software.h"

#define FAILURES_FREE 3u
#define PAUSE_SHIFT_MAX 9u /* 512 s */
#define USEC UINT64_C(1000000)

_Static_assert(TPM_NAME_SIZE == 2 + MACHINE_TEXT_SIZE - 1, "the machine takes the place of the hash");
_Static_assert(SOFTWARE_KEY_SIZE == TPM_AUTH_SIZE && SOFTWARE_SALT_SIZE == PIN_SALT_SIZE, "one derivation");

bool identity_is_software(const Identity *i)
{
    return i->keys && i->keys->public.protection == PROTECTION_SOFTWARE;
}

void identity_software_name(const Identity *i, uint8_t ret[static TPM_NAME_SIZE])
{
    memset(ret, 0, TPM_NAME_SIZE);
    memcpy(ret + 2, i->machine, strlen(i->machine));
}

int identity_parameters_new(const IdentityWork *w, PinParameters *ret)
{
    int r = pin_parameters_new(ret);

    if (r == 0 && (w->software || identity_is_software(w->i))) {
        ret->cost = SOFTWARE_COST;
        ret->parallel = SOFTWARE_P;
    }
    return r;
}

int identity_create_software(Identity *i, const Secret *password, identity_done_t done, void *userdata,
                             IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = identity_create_new(i, false, done, userdata, &w);

    if (r != 0)
        return r;
    w->software = true;
    r = secret_new_copy(secret_bytes(password), secret_size(password), &w->pin);
    return identity_work_begun(w, r == 0 ? identity_create_begin(w) : r, ret);
}

static int on_idle(sd_event_source *s, void *userdata)
{
    Identity *i = userdata;

    if (i->kept)
        i->auth = secret_free(i->auth);
    return 0;
}

static void fetch(Identity *i)
{
    _cleanup_(secret_freep) Secret *key = NULL;
    int r = secret_new(KEYRING_KEY_SIZE, &key);

    if (r == 0)
        r = keyring_get(i->m->keyring, i->kept, key);
    if (r == 0)
        r = secret_new_copy(secret_bytes(key), TPM_AUTH_SIZE, &i->auth);
    if (r == 0 && !i->idle)
        r = sd_event_add_defer(i->m->event, &i->idle, on_idle, i);
    if (r >= 0)
        r = sd_event_source_set_enabled(i->idle, SD_EVENT_ONESHOT);
    if (r < 0) {
        identity_auth_drop(i);
        i->locked = true;
    }
}

const Secret *identity_auth(Identity *i)
{
    if (!i->auth && i->kept)
        fetch(i);
    return i->auth;
}

void identity_auth_keep(Identity *i)
{
    _cleanup_(secret_freep) Secret *key = NULL;
    int r;

    if (!i->auth || !identity_is_software(i))
        return;
    i->kept = keyring_drop(i->m->keyring, i->kept);
    r = secret_new(KEYRING_KEY_SIZE, &key);
    if (r == 0) {
        memcpy(secret_data(key), secret_bytes(i->auth), TPM_AUTH_SIZE);
        r = keyring_keep(i->m->keyring, secret_bytes(key), &i->kept);
    }
    if (r == 0)
        i->auth = secret_free(i->auth);
    else
        log_warning("The key of the key files stays in locked memory: %s", strerror(-r));
}

void identity_auth_drop(Identity *i)
{
    if (i->kept)
        i->kept = keyring_drop(i->m->keyring, i->kept);
    i->auth = secret_free(i->auth);
}

int identity_change_auth(IdentityWork *w, TpmKeyFile *key, tpm_done_t done)
{
    TpmRunner *runner = w->i->runner;
    const Secret *now = tpm_keyfile_needs_auth(key) ? identity_auth(w->i) : NULL;

    if (tpm_keyfile_is_software(key))
        return tpm_runner_change_software(runner, key, now, w->parameters.salt, w->auth, done, w, &w->job);
    return tpm_runner_change_auth(runner, key, now, w->auth, done, w, &w->job);
}

int identity_software_wait(const Identity *i, char detail[static IDENTITY_DETAIL_SIZE])
{
    uint64_t now = clock_boottime();

    if (now >= i->try_after)
        return 0;
    (void)snprintf(detail, IDENTITY_DETAIL_SIZE, "After %u wrong passwords the next try is in %u s",
                   i->failures, (unsigned)((i->try_after - now) / USEC + 1));
    return HMSG_ERROR_TPM_LOCKED_OUT;
}

void identity_software_tried(Identity *i, const TpmAnswer *a)
{
    unsigned shift;

    if (!a->software)
        return;
    if (a->r == 0) {
        i->failures = 0;
        i->try_after = 0;
        return;
    }
    if (a->problem->reason != TPM_REASON_WRONG_AUTH || ++i->failures < FAILURES_FREE)
        return;
    shift = i->failures - FAILURES_FREE;
    i->try_after = clock_boottime() + (USEC << (shift < PAUSE_SHIFT_MAX ? shift : PAUSE_SHIFT_MAX));
}

/* The salt is in each file and in identity.json. */
static bool fits(const IdentityKeys *k, const TpmKeyFile *key)
{
    return bytes_equal(software_salt(key), k->pin.salt, PIN_SALT_SIZE);
}

bool identity_software_fits(const IdentityKeys *k)
{
    for (unsigned i = 0; i < k->n_former; i++)
        if (!fits(k, k->former[i].key))
            return false;
    return k->pin.cost == SOFTWARE_COST && k->pin.parallel == SOFTWARE_P && fits(k, k->decrypt) &&
           fits(k, k->sign);
}
