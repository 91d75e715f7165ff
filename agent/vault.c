/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/vault.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/identity.h"
#include "agent/store.h"
#include "agent/vault-file.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

#define KEY_NAME "store"
#define KEY_SUFFIX ".key"
#define SRK_BYTES 12u /* as the folders of keys */
#define SUFFIX_SIZE (1 + 2 * SRK_BYTES + 1)
#define FILE_NAME_SIZE 64u
#define RETRY_MIN_USEC (5u * 1000000u)
#define RETRY_MAX_USEC (300u * 1000000u)

struct Vault {
    Manager *m;
    vault_tried_t tried;
    void *userdata;
    char suffix[SUFFIX_SIZE];
    VaultKeys keys;
    DbSeal *seal;
    bool open;
    TpmProblem problem; /* why it is not */
    IdentityWork *work; /* unseals, or seals next */
    VaultKey next;
    sd_event_source *retry;
    uint64_t pause; /* µs */
};

static void file_name(const Vault *v, const char *extension, char ret[static FILE_NAME_SIZE])
{
    (void)snprintf(ret, FILE_NAME_SIZE, KEY_NAME "%s%s", v->suffix, extension);
}

static void retry_later(Vault *v)
{
    if (sd_event_source_set_time_relative(v->retry, v->pause) < 0 ||
        sd_event_source_set_enabled(v->retry, SD_EVENT_ONESHOT) < 0)
        return;
    v->pause = 2 * v->pause < RETRY_MAX_USEC ? 2 * v->pause : RETRY_MAX_USEC;
}

static int new_key(VaultKey *ret)
{
    ret->is_sealed = false;
    return secret_new_random(DB_SEAL_KEY_SIZE, &ret->key);
}

static int store_keys(const Vault *v, const VaultKeys *k)
{
    char name[FILE_NAME_SIZE];
    int r;

    file_name(v, KEY_SUFFIX, name);
    r = vault_file_store(v->m->data_fd, name, k);
    return r == -ENOSPC || r == -EDQUOT ? HMSG_ERROR_STORAGE_FULL : r;
}

/* A store whose key is gone is not to be taken for one that is damaged. */
static int begin_keys(Vault *v)
{
    char name[FILE_NAME_SIZE];
    bool sealed = false;
    int r;

    file_name(v, ".db", name);
    r = store_is_sealed(v->m->data_fd, name, &sealed);
    if (r == 0 && sealed) {
        log_error("%s/" KEY_NAME "%s" KEY_SUFFIX " is missing: without it the store cannot be read",
                  v->m->places.data_dir, v->suffix);
        return -ENOKEY;
    }
    if (r == 0)
        r = new_key(&v->keys.keys[0]);
    if (r != 0)
        return r;
    v->keys.n = 1;
    return store_keys(v, &v->keys);
}

static int load_keys(Vault *v)
{
    char name[FILE_NAME_SIZE];
    int r;

    vault_keys_done(&v->keys);
    file_name(v, KEY_SUFFIX, name);
    r = vault_file_load(v->m->data_fd, name, &v->keys);
    if (r != 0 && r != -ENOENT)
        log_error("%s/%s: %s", v->m->places.data_dir, name, error_message(r));
    return r;
}

static bool is_sealed_by(const VaultKeys *k, const uint8_t *srk_name)
{
    return k->n > 0 && k->keys[0].is_sealed &&
           memcmp(k->keys[0].by.srk_name, srk_name, TPM_NAME_SIZE) == 0; /* public */
}

/* The store of this machine: that with the plain name, unless another TPM has sealed its key. *ret false:
 * that is not known yet. */
static int choose(Vault *v, bool *ret)
{
    const uint8_t *srk_name = identity_srk(v->m->identity);
    char hex[2 * SRK_BYTES + 1];
    int r;

    v->suffix[0] = 0;
    *ret = true;
    r = load_keys(v);
    if (r == 0 && v->keys.keys[0].is_sealed) {
        *ret = srk_name != NULL;
        if (!srk_name || is_sealed_by(&v->keys, srk_name))
            return 0;
        hex_encode(srk_name, SRK_BYTES, hex);
        (void)snprintf(v->suffix, sizeof(v->suffix), "-%s", hex);
        r = load_keys(v);
    }
    return r == -ENOENT ? begin_keys(v) : r;
}

static int make_seal(Vault *v)
{
    int r = db_seal_new(v->keys.keys[v->keys.n - 1].key, &v->seal);

    return r == 0 && v->keys.n > 1 ? db_seal_change(v->seal, v->keys.keys[0].key) : r;
}

/* All is written with the newest key: the one of before goes. */
static int rewrite(Vault *v)
{
    VaultKeys rest = {.n = 1};
    int r = db_reseal(store_db(v->m->store));

    rest.keys[0] = v->keys.keys[0];
    if (r == 0)
        r = store_keys(v, &rest);
    if (r != 0)
        return r;
    db_seal_forget(v->seal);
    vault_key_done(&v->keys.keys[1]);
    v->keys.n = 1;
    return 0;
}

/* Takes over next. Until the store is written anew both are in the file. */
static int change_key(Vault *v, VaultKey *next)
{
    VaultKeys both = {.n = 2};
    int r;

    both.keys[0] = *next;
    both.keys[1] = v->keys.keys[0];
    r = store_keys(v, &both);
    if (r == 0)
        r = db_seal_change(v->seal, next->key);
    if (r != 0)
        return r;
    v->keys = both;
    *next = (VaultKey){.key = NULL};
    return rewrite(v);
}

/* Those of now, in a TPM, with this decrypt key? */
static bool are_keys(const Vault *v, const uint8_t *kid)
{
    const IdentityPublic *p = identity_public(v->m->identity);

    return p && p->protection != PROTECTION_SOFTWARE && memcmp(kid, p->kid_bytes, KID_SIZE) == 0; /* public */
}

static bool is_up_to_date(const Vault *v)
{
    const IdentityPublic *p = identity_public(v->m->identity);
    const VaultKey *k = &v->keys.keys[0];

    if (v->keys.n != 1)
        return v->keys.n == 0;
    return !p || p->protection == PROTECTION_SOFTWARE || (k->is_sealed && are_keys(v, k->by.kid));
}

static void follow(Vault *v);

static void stay(Vault *v, int r)
{
    log_warning("The store stays under its key of before: %s", error_message(r));
    retry_later(v);
}

static void on_sealed(int r, const TpmProblem *problem, const SealedKey *sealed, void *userdata)
{
    Vault *v = userdata;
    bool wanted = r == 0 && are_keys(v, sealed->kid);

    if (wanted) {
        v->next.is_sealed = true;
        v->next.by = sealed_key_copy(sealed);
    }
    v->work = identity_work_free(v->work);
    if (wanted)
        r = change_key(v, &v->next);
    vault_key_done(&v->next);
    if (r != 0) {
        stay(v, r);
        return;
    }
    v->pause = RETRY_MIN_USEC;
    follow(v); /* there may be other keys by now */
    identity_settle(v->m->identity);
}

/* Another generation, another key. */
static void follow(Vault *v)
{
    int r = 0;

    if (!v->open || v->work || is_up_to_date(v))
        return;
    if (!identity_tpm_facts(v->m->identity)) { /* whose keys these are, the TPM has to say first */
        retry_later(v);
        return;
    }
    if (v->keys.n > 1)
        r = rewrite(v);
    if (r == 0 && !is_up_to_date(v)) {
        r = new_key(&v->next);
        if (r == 0)
            r = identity_seal(v->m->identity, v->next.key, on_sealed, v, &v->work);
        if (r != 0)
            vault_key_done(&v->next);
    }
    if (r != 0)
        stay(v, r);
}

static int opened(Vault *v)
{
    int r = make_seal(v);

    if (r != 0)
        return r;
    v->open = true;
    v->problem = (TpmProblem){.reason = TPM_REASON_NONE};
    v->pause = RETRY_MIN_USEC;
    r = v->tried(0, v->userdata);
    if (r == 0)
        follow(v);
    return r;
}

static int closed(Vault *v, int r, const TpmProblem *problem)
{
    if (problem->reason != v->problem.reason)
        log_warning("The key of the store: %s", problem->text);
    v->problem = *problem;
    if (problem->reason != TPM_REASON_DESTROYED)
        retry_later(v);
    return v->tried(r, v->userdata);
}

static void leave_on_error(Vault *v, int r)
{
    if (r != 0)
        (void)sd_event_exit(v->m->event, r > 0 ? -EIO : r);
}

static int no_answer(Vault *v)
{
    TpmProblem p = {.rc = 0};
    int r = tpm_problem_set(&p, TPM_REASON_NO_ANSWER, v->m->places.tcti, 0);

    return closed(v, r, &p);
}

static int unseal(Vault *v);

static void on_unsealed(int r, const TpmProblem *problem, Secret **key, void *userdata)
{
    Vault *v = userdata;
    VaultKey *k = v->keys.keys;

    v->work = identity_work_free(v->work);
    while (k->key)
        k++;
    if (r == 0) {
        k->key = TAKE_PTR(*key);
        r = unseal(v);
    } else
        r = closed(v, r, problem);
    leave_on_error(v, r);
}

static const VaultKey *find_unknown(const Vault *v)
{
    for (unsigned i = 0; i < v->keys.n; i++)
        if (!v->keys.keys[i].key)
            return &v->keys.keys[i];
    return NULL;
}

/* One after the other, then the store is open. */
static int unseal(Vault *v)
{
    const VaultKey *k = find_unknown(v);

    if (!k)
        return opened(v);
    return identity_unseal(v->m->identity, &k->by, on_unsealed, v, &v->work) == 0 ? 0 : no_answer(v);
}

int vault_go_on(Vault *v, bool *ret_waits)
{
    bool known = false;
    int r = 0;

    if (!v->open && !v->work) {
        r = choose(v, &known);
        if (r == 0)
            r = known ? unseal(v) : no_answer(v);
    } else
        follow(v);
    *ret_waits = r == 0 && !v->open && v->work;
    return r;
}

int vault_start(Vault *v, bool *ret_waits)
{
    bool known = false;
    int r = choose(v, &known);

    /* the store of one TPM among several: the keys found first may be those of another */
    if (r == 0 && known && !find_unknown(v) && !*v->suffix)
        r = opened(v);
    *ret_waits = r == 0 && !v->open;
    return r;
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
    Vault *v = userdata;
    bool waits;

    if (!v->open)
        leave_on_error(v, vault_go_on(v, &waits));
    else {
        follow(v);
        identity_settle(v->m->identity);
    }
    return 0;
}

static void on_identity_changed(Identity *i, void *userdata)
{
    Vault *v = userdata;

    if (v->open)
        follow(v);
    else if (!v->work && v->problem.reason != TPM_REASON_NONE)
        (void)sd_event_source_set_time_relative(v->retry, 0);
}

int vault_new(Manager *m, vault_tried_t tried, void *userdata, Vault **ret)
{
    _cleanup_(vault_freep) Vault *v = calloc(1, sizeof(*v));
    int r;

    if (!v)
        return -ENOMEM;
    v->m = m;
    v->tried = tried;
    v->userdata = userdata;
    v->pause = RETRY_MIN_USEC;
    r = sd_event_add_time_relative(m->event, &v->retry, CLOCK_BOOTTIME, RETRY_MIN_USEC, 0, on_retry, v);
    if (r >= 0)
        r = sd_event_source_set_enabled(v->retry, SD_EVENT_OFF);
    if (r >= 0)
        r = identity_watch(m->identity, on_identity_changed, v);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(v);
    return 0;
}

Vault *vault_free(Vault *v)
{
    if (!v)
        return NULL;
    identity_work_free(v->work);
    sd_event_source_disable_unref(v->retry);
    db_seal_free(v->seal);
    vault_keys_done(&v->keys);
    vault_key_done(&v->next);
    free(v);
    return NULL;
}

const char *vault_suffix(const Vault *v)
{
    return v->suffix;
}

DbSeal *vault_seal(const Vault *v)
{
    return v->seal;
}

bool vault_is_open(const Vault *v)
{
    return !v || v->open;
}

bool vault_may_open(const Vault *v)
{
    return v && !v->open && v->problem.reason != TPM_REASON_DESTROYED;
}

const char *vault_problem(const Vault *v, const char **ret_help)
{
    const char *help = NULL;

    if (!v->open && v->problem.reason == TPM_REASON_DESTROYED)
        help = "Its key ended with keys of before: put back a later copy of the data folder, or delete the "
               "identity, which puts the store aside";
    else if (!v->open)
        help = tpm_reason_help(v->problem.reason);
    if (ret_help)
        *ret_help = help;
    if (v->open)
        return "";
    return v->problem.reason == TPM_REASON_NONE ? "the TPM has not given its key yet" : v->problem.text;
}

const char *vault_protection(const Vault *v)
{
    return v && v->keys.n > 0 && v->keys.keys[0].is_sealed ? "tpm" : "file";
}

bool vault_is_behind(const Vault *v)
{
    return v && v->problem.reason != TPM_REASON_DESTROYED && !is_up_to_date(v);
}

static int move_file(const Vault *v, int to_fd, const char *name)
{
    return renameat(v->m->data_fd, name, to_fd, name) < 0 && errno != ENOENT ? -errno : 0;
}

/* The key last: a store without one is a reason not to start. */
static int put_aside(const Vault *v)
{
    static const char *const extensions[] = {".db-wal", ".db", KEY_SUFFIX};
    _cleanup_(fd_closep) int fd = -1;
    char name[FILE_NAME_SIZE];
    int r;

    (void)snprintf(name, sizeof(name), "lost-%" PRIi64, clock_realtime());
    if (mkdirat(v->m->data_fd, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    fd = openat(v->m->data_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    log_warning("The store cannot be opened, and is put aside: %s/%s", v->m->places.data_dir, name);
    (void)snprintf(name, sizeof(name), STORE_MAIL_FOLDER "%s", v->suffix);
    r = move_file(v, fd, name);
    for (size_t i = 0; r == 0 && i < ELEMENTSOF(extensions); i++) {
        file_name(v, extensions[i], name);
        r = move_file(v, fd, name);
    }
    if (r == 0 && (fsync(fd) < 0 || fsync(v->m->data_fd) < 0))
        r = -errno;
    return r;
}

static void stop_work(Vault *v)
{
    v->work = identity_work_free(v->work);
    vault_key_done(&v->next);
}

static int begin_anew(Vault *v)
{
    int r = put_aside(v);

    if (r != 0)
        return r;
    vault_keys_done(&v->keys);
    r = begin_keys(v);
    if (r == 0)
        r = opened(v);
    stop_work(v); /* it does not follow keys that are about to go */
    return r;
}

/* From the TPM back into a file. */
static int take_back(Vault *v)
{
    VaultKey next = {.key = NULL};
    int r = v->keys.n > 1 ? rewrite(v) : 0;

    if (r != 0 || !v->keys.keys[0].is_sealed)
        return r;
    r = new_key(&next);
    if (r == 0)
        r = change_key(v, &next);
    vault_key_done(&next);
    return r;
}

int vault_leave(Vault *v)
{
    if (!v)
        return 0;
    stop_work(v);
    retry_later(v); /* looks whether they have gone, else follows them again */
    return v->open ? take_back(v) : begin_anew(v);
}
