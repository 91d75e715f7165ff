/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What stands in statements behind a signature: devices, recovery keys, ticks; and what a relay tells of the
 * keys that it had. */

#include <string.h>

#include "libhmsg/wire/statement.h"
#include "tests/fuzz/fuzz.h"

#define NOW 1900000000

static void look_at_devices(const json_t *j)
{
    _cleanup_(json_decrefp) json_t *written = json_object();
    Devices d = {.n = 0}, again = {.n = 0};

    if (devices_get(j, &d) != 0)
        return;
    fuzz_must(d.n <= DEVICES_MAX, "not too many");
    for (size_t i = 0; i < d.n; i++) {
        Devices others = {.n = 0};

        for (size_t k = 0; k < d.n; k++)
            if (k != i)
                fuzz_must(devices_add(&others, &d.list[k]) == 0, "they are of different keys");
        fuzz_must(!devices_have(&others, d.list[i].kid) && !devices_have(&others, d.list[i].skid),
                  "no key is there twice");
    }
    fuzz_check(devices_put(&d, written) == 0, "what was read can be written");
    fuzz_check(devices_get(written, &again) == 0, "and read");
    fuzz_must(again.n == d.n && memcmp(again.list, d.list, d.n * sizeof(Device)) == 0, "it is the same");
}

static void look_at_recovery(const json_t *j)
{
    _cleanup_(recovery_keys_done) RecoveryKeys k = {.n = 0}, again = {.n = 0};
    _cleanup_(json_decrefp) json_t *written = json_object();

    if (recovery_keys_get(j, &k) != 0)
        return;
    fuzz_must(k.n <= RECOVERY_KEYS_MAX, "not too many");
    for (size_t i = 0; i < k.n; i++)
        fuzz_must(k.keys[i].decrypt != NULL && recovery_keys_have(&k, k.keys[i].decrypt), "each has a key");
    fuzz_check(recovery_keys_put(&k, written) == 0, "what was read can be written");
    fuzz_check(recovery_keys_get(written, &again) == 0, "and read");
    fuzz_must(again.n == k.n, "it is the same");
}

static void look_at_ticks(const json_t *j)
{
    _cleanup_(json_decrefp) json_t *written = json_object();
    Ticks t = {.n = 0}, again = {.n = 0};

    if (ticks_get(j, &t) != 0)
        return;
    fuzz_must(t.n <= TICKS_MAX && (t.number == 0) == (t.n == 0), "there are as many as told");
    fuzz_check(ticks_put(written, &t) == 0, "what was read can be written");
    fuzz_check(ticks_get(written, &again) == 0, "and read");
    fuzz_must(again.number == t.number && again.n == t.n && memcmp(again.ids, t.ids, t.n * TICK_SIZE) == 0,
              "it is the same");
    if (t.number == 0 || ticks_next(&t) != 0)
        return;
    fuzz_must(t.n <= TICKS_MAX && t.number == again.number + 1, "the next one is one more");
    if (t.n > 1)
        fuzz_must(memcmp(t.ids[1], again.ids[0], TICK_SIZE) == 0, "behind those of before");
}

static void look_at_successions(const json_t *j)
{
    static const uint8_t nobody[PIN_SIZE], other[PIN_SIZE] = {1};
    json_t *all = NULL;

    if (json_get_array(j, "successions", &all) == 0)
        fuzz_must(succession_follow(all, nobody, NULL, other, NOW) != 0, "no key has this pin");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(json_decrefp) json_t *j = NULL;

    if (json_parse_object((const char *)data, size, &j) != 0)
        return 0;
    look_at_devices(j);
    look_at_recovery(j);
    look_at_ticks(j);
    look_at_successions(j);
    return 0;
}
