/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* identity.json: what belongs to the keys of a folder besides their files. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/identity-files-internal.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/file.h"

#define FACTS_VERSION 1
#define PIN_KDF "scrypt"

void identity_former_file(uint64_t generation, char ret[static FORMER_FILE_SIZE])
{
    (void)snprintf(ret, FORMER_FILE_SIZE, "former-%" PRIu64 ".pem", generation);
}

int identity_counter_put(const TpmCounter *c, json_t *j)
{
    int r = json_put_number(j, "index", c->index);

    return r == 0 ? json_put_bytes(j, "auth", c->auth, TPM_AUTH_SIZE) : r;
}

int identity_counter_get(const json_t *j, TpmCounter *ret)
{
    int64_t index = 0;
    int r = json_get_number(j, "index", 1, UINT32_MAX, &index);

    if (r == 0)
        r = json_get_bytes(j, "auth", ret->auth, TPM_AUTH_SIZE);
    ret->index = (uint32_t)index;
    return r;
}

/* The counter that the keys are bound to. */
static int counter_write(const TpmCounter *c, json_t *facts)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = identity_counter_put(c, j);

    return r == 0 && json_object_set(facts, "counter", j) < 0 ? -ENOMEM : r;
}

static int counter_read(const json_t *facts, TpmCounter *ret)
{
    static const char *const names[] = {"index", "auth", NULL};
    json_t *j = NULL;
    int r = json_get_object(facts, "counter", &j);

    if (r == 0)
        r = json_check_names(j, names);
    return r == 0 ? identity_counter_get(j, ret) : r;
}

static int put_former(const FormerKey *f, json_t *list)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_bytes(j, "kid", f->kid, KID_SIZE);

    if (r == 0)
        r = json_put_bytes(j, "skid", f->skid, KID_SIZE);
    if (r == 0)
        r = json_put_number(j, "generation", (int64_t)f->generation);
    if (r == 0)
        r = json_put_number(j, "until", f->until);
    return r == 0 && json_array_append(list, j) < 0 ? -ENOMEM : r;
}

static int former_write(const IdentityKeys *k, json_t *facts)
{
    _cleanup_(json_decrefp) json_t *list = json_array();
    int r = list ? 0 : -ENOMEM;

    for (unsigned i = 0; i < k->n_former && r == 0; i++)
        r = put_former(&k->former[i], list);
    return r == 0 && json_object_set(facts, "former", list) < 0 ? -ENOMEM : r;
}

static int rotations_write(const IdentityKeys *k, json_t *facts)
{
    _cleanup_(json_decrefp) json_t *list = json_array();

    if (!list)
        return -ENOMEM;
    for (unsigned i = 0; i < k->n_rotations; i++)
        if (json_array_append_new(list, json_string(k->rotations[i])) < 0)
            return -ENOMEM;
    return json_object_set(facts, "rotations", list) < 0 ? -ENOMEM : 0;
}

static int former_read(int fd, const json_t *j, IdentityKeys *k)
{
    static const char *const names[] = {"kid", "skid", "generation", "until", NULL};
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *key = NULL;
    char name[FORMER_FILE_SIZE];
    FormerKey f = {.key = NULL};
    int64_t generation = 0;
    int r = json_is_object(j) ? json_check_names(j, names) : -EBADMSG;

    if (r == 0)
        r = json_get_bytes(j, "kid", f.kid, KID_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "skid", f.skid, KID_SIZE);
    if (r == 0)
        r = json_get_number(j, "generation", 0, (int64_t)GENERATION_MAX, &generation);
    if (r == 0)
        r = json_get_number(j, "until", 0, TIME_MAX, &f.until);
    if (r != 0)
        return r;
    f.generation = (uint64_t)generation;
    identity_former_file(f.generation, name);
    r = identity_key_read(fd, name, &key);
    f.key = key;
    return r == 0 ? identity_keys_add_former(k, &f) : r;
}

static int all_former_read(int fd, const json_t *facts, IdentityKeys *k)
{
    json_t *list = NULL, *j;
    size_t i;
    int r = json_get_array(facts, "former", &list);

    if (r != 0)
        return r;
    json_array_foreach (list, i, j) {
        r = former_read(fd, j, k);
        if (r != 0)
            return r;
    }
    return 0;
}

static int rotations_read(const json_t *facts, IdentityKeys *k)
{
    json_t *list = NULL, *j;
    size_t i;
    int r = json_get_array(facts, "rotations", &list);

    if (r == 0 && json_array_size(list) > ROTATIONS_MAX)
        return -EBADMSG;
    json_array_foreach (list, i, j) {
        if (!json_is_string(j) || json_string_length(j) > JWS_SIZE_MAX)
            return -EBADMSG;
        r = identity_keys_add_rotation(k, json_string_value(j));
        if (r != 0)
            return r;
    }
    return r;
}

/* pin: how the authorization value comes from the PIN. */
static int pin_write(const PinParameters *p, json_t *facts)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    char salt[BASE64URL_SIZE(PIN_SALT_SIZE) + 1];
    int r = json_put_text(j, "kdf", PIN_KDF);

    base64url_encode(p->salt, PIN_SALT_SIZE, salt);
    if (r == 0)
        r = json_put_number(j, "cost", p->cost);
    if (r == 0 && p->parallel > 0)
        r = json_put_number(j, "parallel", p->parallel);
    if (r == 0)
        r = json_put_text(j, "salt", salt);
    return r == 0 && json_object_set(facts, "pin", j) < 0 ? -ENOMEM : r;
}

static int pin_read(const json_t *facts, PinParameters *ret)
{
    static const char *const names[] = {"kdf", "cost", "parallel", "salt", NULL};
    const json_t *j = json_object_get(facts, "pin");
    int64_t cost = 0, parallel = 0;
    int r = json_is_object(j) ? json_check_names(j, names) : -EBADMSG;

    if (r == 0)
        r = json_expect_text(j, "kdf", PIN_KDF);
    if (r == 0)
        r = json_get_number(j, "cost", PIN_COST_MIN, PIN_COST_MAX, &cost);
    if (r == 0)
        r = json_get_bytes(j, "salt", ret->salt, PIN_SALT_SIZE);
    if (r == 0 && json_has(j, "parallel"))
        r = json_get_number(j, "parallel", 1, PIN_PARALLEL_MAX, &parallel);
    ret->cost = (unsigned)cost;
    ret->parallel = (unsigned)parallel;
    return r;
}

int identity_facts_write(const IdentityKeys *k, Buf *ret)
{
    const IdentityPublic *p = &k->public;
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_number(j, "hmsg", FACTS_VERSION);

    if (r == 0)
        r = json_put_text(j, "srk_name", p->srk_name);
    if (r == 0)
        r = json_put_text(j, "kid", p->kid);
    if (r == 0)
        r = json_put_text(j, "skid", p->skid);
    if (r == 0)
        r = json_put_text(j, "protection", protection_text(p->protection));
    if (r == 0)
        r = json_put_number(j, "generation", (int64_t)p->generation);
    if (r == 0)
        r = json_put_number(j, "created", p->created);
    if (r == 0)
        r = json_put_text(j, "machine", k->machine);
    if (r == 0 && p->has_pin)
        r = pin_write(&k->pin, j);
    if (r == 0 && k->has_counter)
        r = counter_write(&k->counter, j);
    if (r == 0 && k->pcrs)
        r = identity_pcrs_write(k->pcrs, j);
    if (r == 0 && k->n_former > 0)
        r = former_write(k, j);
    if (r == 0 && k->n_rotations > 0)
        r = rotations_write(k, j);
    if (r == 0)
        r = recovery_keys_put(&p->recovery, j);
    if (r == 0)
        r = json_write(j, ret);
    return r == 0 ? buf_append_string(ret, "\n") : r;
}

/* Facts that do not fit the keys are of another folder or forged. */
static int check_facts(const json_t *j, const IdentityKeys *k)
{
    static const char *const names[] = {"hmsg",       "srk_name",  "kid",     "skid",     "protection",
                                        "generation", "created",   "machine", "pin",      "counter",
                                        "former",     "rotations", "pcrs",    "recovery", NULL};
    int64_t version = 0;
    int r = json_check_names(j, names);

    if (r == 0)
        r = json_get_number(j, "hmsg", FACTS_VERSION, FACTS_VERSION, &version);
    if (r == 0)
        r = json_expect_text(j, "kid", k->public.kid);
    if (r == 0)
        r = json_expect_text(j, "skid", k->public.skid);
    if (r == 0)
        r = json_expect_text(j, "protection", protection_text(k->public.protection));
    return r;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int read_srk_name(const json_t *j, uint8_t ret[static TPM_NAME_SIZE])
{
    const char *text = NULL;
    size_t n = 0;
    int r = json_get_text(j, "srk_name", SRK_TEXT_SIZE - 1, &text, &n);

    if (r != 0)
        return r;
    if (n != SRK_TEXT_SIZE - 1)
        return -EBADMSG;
    for (size_t i = 0; i < TPM_NAME_SIZE; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return -EBADMSG;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

/* The counter, and what was before these keys. */
static int read_history(int fd, const json_t *j, IdentityKeys *k)
{
    int r = 0;

    if (json_has(j, "counter")) {
        r = counter_read(j, &k->counter);
        k->has_counter = r == 0;
    }
    if (r == 0 && json_has(j, "pcrs"))
        r = identity_pcrs_read(j, &k->pcrs);
    if (r == 0 && json_has(j, "former"))
        r = all_former_read(fd, j, k);
    if (r == 0 && json_has(j, "rotations"))
        r = rotations_read(j, k);
    if (r == 0)
        r = recovery_keys_get(j, &k->public.recovery);
    if (r == 0 && k->public.protection == PROTECTION_SOFTWARE && !identity_software_fits(k))
        r = -EBADMSG;
    return r == 0 && (!identity_keys_fit_counter(k) || !identity_keys_fit_pcrs(k)) ? -EBADMSG : r;
}

int identity_facts_read(int fd, TpmKeyFile *decrypt, TpmKeyFile *sign, IdentityKeys **ret)
{
    _cleanup_(identity_keys_freep) IdentityKeys *k = NULL;
    _cleanup_(json_decrefp) json_t *j = NULL;
    _cleanup_(buf_done) Buf text = BUF_MAX(FACTS_SIZE_MAX);
    uint8_t srk_name[TPM_NAME_SIZE];
    const char *machine = NULL;
    int64_t created = 0, generation = 0;
    int r = file_read(fd, FACTS_FILE, &text);

    if (r == 0)
        r = json_parse_object(buf_text(&text), text.size, &j);
    if (r == 0)
        r = read_srk_name(j, srk_name);
    if (r == 0)
        r = json_get_text(j, "machine", MACHINE_TEXT_SIZE - 1, &machine, NULL);
    if (r == 0)
        r = json_get_number(j, "created", 0, TIME_MAX, &created);
    if (r == 0)
        r = json_get_number(j, "generation", 0, (int64_t)GENERATION_MAX, &generation);
    if (r == 0)
        r = identity_keys_new(decrypt, sign, srk_name, machine, created, &k);
    if (r == 0)
        r = check_facts(j, k);
    if (r == 0 && k->public.has_pin != json_has(j, "pin"))
        r = -EBADMSG;
    if (r == 0 && k->public.has_pin)
        r = pin_read(j, &k->pin);
    if (r != 0)
        return r;
    k->public.generation = (uint64_t)generation;
    r = read_history(fd, j, k);
    if (r != 0)
        return r;
    *ret = TAKE_PTR(k);
    return 0;
}
